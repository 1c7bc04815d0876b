"""The network is the published one: number of parameters, shapes, and the start of a training."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from maskq.segmentation.network.branched_erfnet import BranchedERFNet, Down, NonBottleneck1D, PaddingMask, Up
from maskq.segmentation.network.shape_buckets import STRIDE

pytestmark = pytest.mark.usefixtures("one_thread")


def parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize(("bandwidths", "published"), [(1, 2_252_644), (2, 2_252_838)])
def test_it_has_the_published_number_of_parameters_except_for_an_unused_layer(bandwidths: int, published: int) -> None:
    # The published encoder has an unused classifier: a 1×1 convolution from 128 features to all output channels.
    unused = nn.Conv2d(128, 2 + bandwidths + 1, 1)
    assert parameters(BranchedERFNet(3, bandwidths)) + parameters(unused) == published


def test_a_grey_network_is_smaller_by_the_first_convolution_alone() -> None:
    # 16 - channels filters of 3×3×channels, each with a bias; the other channels of the 16 are the max-pool's.
    assert parameters(BranchedERFNet(3, 2)) - parameters(BranchedERFNet(1, 2)) == 13 * (27 + 1) - 15 * (9 + 1)


@pytest.mark.parametrize("bandwidths", [0, 3])
def test_other_numbers_of_bandwidths_are_refused(bandwidths: int) -> None:
    with pytest.raises(ValueError, match=f"1 or 2, not {bandwidths}"):
        BranchedERFNet(1, bandwidths)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("bandwidths", [1, 2])
@pytest.mark.parametrize("shape", [(8, 8), (40, 24)])
@torch.no_grad()
def test_fields_have_the_size_of_the_image(channels: int, bandwidths: int, shape: tuple[int, int]) -> None:
    network = BranchedERFNet(channels, bandwidths).eval()
    assert network(torch.rand(2, channels, *shape)).shape == (2, 2 + bandwidths + 1, *shape)


@pytest.mark.parametrize("side", [s for s in range(1, 25) if s % STRIDE])
@torch.no_grad()
def test_a_side_that_is_no_multiple_of_8_is_an_error_and_not_a_shifted_result(side: int) -> None:
    with pytest.raises(RuntimeError):
        BranchedERFNet(1, 2).eval()(torch.rand(1, 1, 16, side))


@pytest.mark.parametrize(
    ("block", "channels", "scale"),
    [(Down(16, 64), 64, 0.5), (Up(16, 8), 8, 2), *((NonBottleneck1D(16, 0.3, d), 16, 1) for d in (1, 2, 16))],
    ids=["down", "up", "residual-1", "residual-2", "residual-16"],
)
@torch.no_grad()
def test_each_block_scales_its_input_and_ends_in_a_relu(block: nn.Module, channels: int, scale: float) -> None:
    y = block.eval()(torch.randn(1, 16, 16, 24))
    assert y.shape == (1, channels, 16 * scale, 24 * scale) and y.min() == 0


@pytest.mark.parametrize("bandwidths", [1, 2])
@pytest.mark.parametrize("margin", [0.01, 0.125, 1.0])
@torch.no_grad()
def test_a_training_starts_with_zero_offsets_and_the_given_margin(bandwidths: int, margin: float) -> None:
    network = BranchedERFNet(1, bandwidths).eval()
    network.init_output_layer(margin)
    raw = network(torch.randn(1, 1, 16, 16))[0]
    assert not raw[:2].any()
    phi = torch.exp(-(margin**2) * torch.exp(10 * raw[2:-1].double()))
    assert phi.numpy() == pytest.approx(0.5, abs=1e-5)
    assert raw[-1].std() > 0  # the seed map keeps its initial weights


def test_the_published_start_is_a_margin_of_5_7_pixels_on_the_grid_of_1024() -> None:
    network = BranchedERFNet(1, 1)
    network.init_output_layer(math.sqrt(math.log(2) / math.exp(10)))
    last = network.instance[-1]
    assert isinstance(last, nn.ConvTranspose2d) and last.bias is not None
    assert last.bias.tolist() == pytest.approx([0, 0, 1])
    assert math.sqrt(math.log(2) / math.exp(10)) * 1024 == pytest.approx(5.7, abs=0.05)


def test_every_parameter_is_reached_by_the_gradient() -> None:
    network = BranchedERFNet(1, 2)
    network(torch.randn(2, 1, 16, 16)).square().sum().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in network.parameters())


@torch.no_grad()
def test_dropout_is_only_for_training() -> None:
    network, image = BranchedERFNet(1, 2), torch.randn(1, 1, 32, 32)
    assert torch.equal(network.eval()(image), network(image))
    network.train()
    assert not torch.equal(network(image), network(image))


@torch.no_grad()
def test_padding_does_not_change_a_samples_fields() -> None:
    torch.manual_seed(0)
    network, sizes = BranchedERFNet(3, 2).eval(), [(8, 40), (24, 16), (32, 40)]
    batch = torch.randn(3, 3, 32, 40)  # noise in the padding too
    fields = network(batch, torch.tensor(sizes))
    for n, (height, width) in enumerate(sizes):
        alone = network(batch[n : n + 1, :, :height, :width])[0]
        torch.testing.assert_close(fields[n, :, :height, :width], alone, rtol=0, atol=1e-5)
        if (height, width) != (32, 40):
            assert (network(batch)[n, :, :height, :width] - alone).abs().max() > 0.01


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@torch.no_grad()
def test_the_padding_mask_zeroes_the_padding_and_keeps_type_and_layout(dtype: torch.dtype) -> None:
    x = torch.randn(2, 16, 4, 6, dtype=dtype).contiguous(memory_format=torch.channels_last)
    mask = PaddingMask(torch.tensor([[16, 48], [32, 8]]), torch.empty(2, 1, 32, 48, dtype=dtype))
    masked, plain = mask.relu(x), x.relu()
    assert masked.dtype == dtype and masked.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(masked[0, :, :2], plain[0, :, :2]) and not masked[0, :, 2:].any()
    assert torch.equal(masked[1, :, :, :1], plain[1, :, :, :1]) and not masked[1, :, :, 1:].any()
