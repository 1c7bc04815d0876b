"""Segmenter: loading checks the weights, and optimisations don't change results."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load, save
from torch import nn

from maskq.segmentation.arrays import Floats
from maskq.segmentation.errors import InvalidModel
from maskq.segmentation.models import spec as model
from maskq.segmentation.models.registry import find
from maskq.segmentation.models.spec import ModelSpec
from maskq.segmentation.network.branched_erfnet import BranchedERFNet
from maskq.segmentation.segmenter import Segmenter


@pytest.fixture(scope="module")
def network() -> nn.Module:
    torch.manual_seed(0)
    net = BranchedERFNet(1, 2)
    for block in net.modules():
        if isinstance(block, nn.BatchNorm2d):
            assert block.running_mean is not None and block.running_var is not None
            block.running_mean.normal_()
            block.running_var.uniform_(0.5, 2)
    return net.eval()


def half(net: nn.Module) -> bytes:
    """The weights in half precision, as a safetensors file."""
    return save({n: t.half().contiguous() for n, t in net.state_dict().items() if t.is_floating_point()})


@pytest.fixture
def inputs() -> Floats:
    return np.random.default_rng(0).normal(0, 1, (3, 1, 48, 64)).astype(np.float32)


def test_folding_the_norms_changes_only_rounding(network: nn.Module, inputs: Floats) -> None:
    with torch.inference_mode():
        plain = network(torch.from_numpy(inputs)).numpy()
    folded = Segmenter(copy.deepcopy(network), ModelSpec(name="x")).forward(inputs)
    np.testing.assert_allclose(folded, plain, atol=2e-5)


def test_an_image_has_the_same_fields_alone_and_in_a_batch(network: nn.Module, inputs: Floats) -> None:
    segmenter = Segmenter(copy.deepcopy(network), ModelSpec(name="x"))
    alone = np.concatenate([segmenter.forward(sample[None]) for sample in inputs])
    np.testing.assert_allclose(segmenter.forward(inputs), alone, atol=2e-5)


def test_a_written_model_runs_after_loading_as_before(network: nn.Module, inputs: Floats, tmp_path: Path) -> None:
    model.write_model(tmp_path, ModelSpec(name="x"), half(network))
    loaded, exact = Segmenter.load(tmp_path), Segmenter(copy.deepcopy(network), ModelSpec(name="x"))
    np.testing.assert_allclose(loaded.forward(inputs), exact.forward(inputs), atol=0.05)


@pytest.mark.parametrize(
    ("weights", "complaint"),
    [
        (b"no tensors", "don't fit"),
        (save({"encoder.0.conv.weight": torch.zeros(3, 3)}), "don't fit"),
        (save({"unheard.of": torch.zeros(3)}), "unheard.of"),
        (save({}), "encoder.0.conv.weight"),
    ],
)
def test_weights_of_another_network_are_refused(tmp_path: Path, weights: bytes, complaint: str) -> None:
    model.write_model(tmp_path, ModelSpec(name="x"), weights)
    with pytest.raises(InvalidModel, match=complaint):
        Segmenter.load(tmp_path)


def test_the_shipped_weights_are_small_half_precision_and_whole() -> None:
    folder = find("nuclei")
    data = model.read_weights(folder)
    assert len(data) < 5_000_000
    assert {tensor.dtype for tensor in load(data).values()} == {torch.float16}
    assert all(bool(torch.isfinite(tensor).all()) for tensor in load(data).values())
    labels, scores = Segmenter.load(folder).segment(np.zeros((40, 50, 1), np.uint8))
    assert labels.shape == (40, 50) and len(scores) == labels.max() == 0
