"""Batches: the result of an image depends neither on its padding nor on the other images of its batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from maskq.segmentation.arrays import Floats
from maskq.segmentation.clustering.fields import CompactFields, compact, pack, unpack
from maskq.segmentation.errors import InvalidFields
from maskq.segmentation.models.registry import find
from maskq.segmentation.models.spec import ModelSpec
from maskq.segmentation.network import inference
from maskq.segmentation.network.inference import InferenceRunner, Input
from maskq.segmentation.network.preprocessing import pad, to_input
from maskq.segmentation.network.shape_buckets import aligned_shape, bucket_shape
from maskq.segmentation.segmenter import Precision, Segmenter

#: The part of an image's padded planes that holds the image.
Core = tuple[slice, slice]
Compacted = Callable[[Floats, list[Core]], Sequence[CompactFields | Floats]]

pytestmark = pytest.mark.usefixtures("one_thread")

#: Limit of the difference between raw values of an image alone and in a batch: rounding in another order.
TOLERANCE = 1e-4
cells = st.integers(1, 6)


@pytest.fixture(scope="module")
def nuclei() -> Segmenter:
    return Segmenter.load(find("nuclei"))


def image(height: int, width: int, seed: int) -> Floats:
    """A preprocessed image of discs on noise, bright at the border, so that values beyond the border would matter."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    centres = rng.uniform(0, (height, width), (1 + height * width // 600, 2))
    near = np.min([np.hypot(y - cy, x - cx) for cy, cx in centres], 0) < 9
    return to_input((near * 150 + rng.normal(40, 5, near.shape)).astype(np.uint8)[..., None], "grey", "percentile")


def whole(planes: Floats, compact: bool = False) -> Input:
    return Input(pad(planes), (slice(0, planes.shape[1]), slice(0, planes.shape[2])), compact)


def run(segmenter: Segmenter, batch: list[Input], shape: tuple[int, int]) -> list[Any]:
    return segmenter.finish(segmenter.start(batch, shape))


def run_alone(segmenter: Segmenter, item: Input) -> Any:
    _, height, width = item.planes.shape
    return run(segmenter, [item], (height, width))[0]


# Padding and batches


@given(cells, cells, st.integers(0, 20), st.integers(0, 20), st.integers(0, 99))
@settings(deadline=None, max_examples=30)
def test_padding_changes_nothing(nuclei: Segmenter, rows: int, columns: int, down: int, right: int, seed: int) -> None:
    item = whole(image(8 * rows, 8 * columns, seed))
    (padded,) = run(nuclei, [item], (8 * (rows + down), 8 * (columns + right)))
    np.testing.assert_allclose(padded, run_alone(nuclei, item), atol=TOLERANCE)


@given(st.lists(st.tuples(st.integers(1, 48), st.integers(1, 48)), min_size=1, max_size=4), st.integers(0, 99))
@settings(deadline=None, max_examples=20)
def test_an_image_in_a_batch_of_many_sizes_gives_what_it_gives_alone(
    nuclei: Segmenter, sizes: list[tuple[int, int]], seed: int
) -> None:
    batch = [whole(image(*size, seed + n)) for n, size in enumerate(sizes)]
    for item, fields in zip(batch, run(nuclei, batch, (48, 56)), strict=True):
        assert fields.shape[1:] == tuple(side.stop for side in item.core)
        np.testing.assert_allclose(fields, run_alone(nuclei, item), atol=TOLERANCE)


def test_without_the_padding_mask_padding_changes_the_fields(nuclei: Segmenter) -> None:
    """The equality above is not trivial: padding with zeros or the edge changes values by more than a margin."""
    planes = image(48, 48, 0)
    expected = run_alone(nuclei, whole(planes))
    for mode in ("constant", "edge"):
        padded = np.pad(planes, ((0, 0), (0, 16), (0, 32)), mode=mode)
        assert np.abs(nuclei.forward(padded[None])[0, :, :48, :48] - expected).max() > 0.5


def test_an_image_padded_to_its_bucket_has_the_foreground_that_it_has_alone(nuclei: Segmenter) -> None:
    item = whole(image(118, 93, 1), compact=True)
    padded, alone = run(nuclei, [item], bucket_shape(118, 93))[0], run_alone(nuclei, item)
    np.testing.assert_array_equal(padded.foreground, alone.foreground)
    np.testing.assert_allclose(padded.values.astype(float), alone.values.astype(float), rtol=2e-3, atol=TOLERANCE)
    assert 100 < alone.foreground.sum() < 118 * 93 - 100


@given(
    st.lists(st.tuples(st.integers(1, 3), st.integers(1, 3)), min_size=1, max_size=3),
    st.integers(1, 3),
    st.integers(0, 2),
    st.integers(0, 2),
)
def test_the_padding_of_a_batch_is_zero_whatever_the_memory_contained(
    sizes: list[tuple[int, int]], channels: int, down: int, right: int
) -> None:
    batch = [whole(np.full((channels, 8 * rows, 8 * columns), 1 + n)) for n, (rows, columns) in enumerate(sizes)]
    shape = 8 * (max(rows for rows, _ in sizes) + down), 8 * (max(columns for _, columns in sizes) + right)

    def dirty(*arguments: Any, empty: Callable[..., Tensor] = torch.empty, **options: Any) -> Tensor:
        return empty(*arguments, **options).fill_(torch.nan)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(torch, "empty", dirty)
        planes = inference._stack(batch, shape)
    assert planes.is_contiguous(memory_format=torch.channels_last)
    for sample, (rows, columns), value in zip(planes.numpy(), sizes, range(1, 4), strict=False):
        expected = np.zeros((channels, *shape), np.float32)
        expected[:, : 8 * rows, : 8 * columns] = value
        np.testing.assert_array_equal(sample, expected)


@pytest.mark.parametrize("channels", [1, 3])
@torch.inference_mode()
def test_a_batch_without_padding_gets_the_networks_own_fields(channels: int) -> None:
    network = nn.Conv2d(channels, 5, 3, padding=1)
    planes = np.random.default_rng(0).normal(0, 1, (2, channels, 16, 24)).astype(np.float32)
    runner = InferenceRunner(network, torch.device("cpu"), torch.float32, supports_padding=False)
    batch = [Input(sample, (slice(2, 9), slice(0, 24)), compact=False) for sample in planes]
    fields = runner.finish(runner.start(batch, (16, 24)))
    np.testing.assert_allclose(
        np.stack(cast(list[Floats], fields)), network(torch.from_numpy(planes)).numpy()[:, :, 2:9], atol=1e-6
    )


def test_a_program_runs_only_at_its_inputs_own_shape() -> None:
    segmenter = Segmenter(nn.Conv2d(1, 5, 1), ModelSpec(name="p", network="program"))
    item = whole(np.zeros((1, 16, 16), np.float32))
    assert not segmenter.supports_padding and Segmenter.load(find("nuclei")).supports_padding
    assert run_alone(segmenter, item).shape == (5, 16, 16)
    with pytest.raises(ValueError, match=r"their own shape alone, and not all are \(16, 24\)"):
        segmenter.start([item], (16, 24))


# The foreground


class Constant(nn.Module):
    """A network that returns the same raw fields for every input."""

    def __init__(self, raw: Floats) -> None:
        super().__init__()
        self.raw = torch.from_numpy(raw)

    def forward(self, x: Tensor | None) -> Tensor:
        return self.raw.contiguous(memory_format=torch.channels_last)


def inputs(raw: Floats, cores: list[Core]) -> list[Input]:
    return [Input(np.zeros((1, *raw.shape[2:]), np.float32), core, compact=True) for core in cores]


def on_cpu(raw: Floats, cores: list[Core]) -> list[CompactFields | Floats]:
    """A CPU's results if its network returns `raw` (N, fields, h, w)."""
    runner = InferenceRunner(Constant(raw), torch.device("cpu"), torch.float32, supports_padding=False)
    _, _, height, width = raw.shape
    return runner.finish(runner.start(inputs(raw, cores), (height, width)))


def as_on_gpu(raw: Floats, cores: list[Core]) -> list[CompactFields]:
    """The results of the GPU's code, run on a CPU."""
    batch = inputs(raw, cores)
    compacted = inference._compact_on_device(Constant(raw)(None), inference._regions(batch)[:, 2:])
    return inference._split(batch, *(tensor.contiguous().numpy() for tensor in compacted))


EITHER_DEVICE = pytest.mark.parametrize("compacted", [on_cpu, as_on_gpu])


def cores(height: int, width: int) -> st.SearchStrategy[Core]:
    def parts(side: int) -> st.SearchStrategy[slice]:
        ends = st.tuples(st.integers(0, side - 1), st.integers(1, side))
        return ends.map(lambda pair: slice(min(pair), max(min(pair) + 1, *pair)))

    return st.tuples(parts(height), parts(width))


#: Values that float16 rounds, clips or flushes to 0, and infinities.
EDGES = np.array(
    [0.0, -0.0, 65504, 65519, 65520, -65520, 1e6, 3e38, np.inf, -np.inf, 6e-8, 3e-8, 2.9e-8, -1e-45],
    np.float32,
)


def raw_fields(shape: tuple[int, ...], seed: int) -> Floats:
    """Values of the usual size, mixed with `EDGES`."""
    rng = np.random.default_rng(seed)
    usual = rng.normal(0, 3, shape).astype(np.float32)
    return np.where(rng.random(shape) < 0.3, rng.choice(EDGES, shape), usual)


@EITHER_DEVICE
@given(
    shape=st.tuples(st.integers(1, 3), st.sampled_from([4, 5]), st.sampled_from([8, 16]), st.sampled_from([8, 24])),
    seed=st.integers(0, 2**32 - 1),
    data=st.data(),
)
@settings(deadline=None)
def test_both_devices_compact_the_raw_fields_bit_for_bit_as_numpy_does(
    compacted: Compacted, shape: tuple[int, int, int, int], seed: int, data: st.DataObject
) -> None:
    raw = raw_fields(shape, seed)
    wanted = [data.draw(cores(*raw.shape[2:])) for _ in raw]
    for sample, core, result in zip(raw, wanted, compacted(raw, wanted), strict=True):
        expected = compact(np.ascontiguousarray(sample[:, *core]))
        assert (
            isinstance(result, CompactFields) and result.values.dtype == np.float16 and result.values.flags.c_contiguous
        )
        np.testing.assert_array_equal(result.foreground, expected.foreground)
        np.testing.assert_array_equal(result.values.view(np.uint16), expected.values.view(np.uint16))


def test_a_batch_can_mix_raw_and_compact_results(nuclei: Segmenter) -> None:
    planes, core = image(40, 48, 2), (slice(8, 40), slice(0, 41))
    raw, foreground = run(nuclei, [Input(planes, core, False), Input(planes, core, True)], (40, 48))
    assert raw.shape == (5, 32, 41) and raw.dtype == np.float32
    np.testing.assert_array_equal(foreground.values, compact(raw).values)


def test_the_packed_fields_of_an_image_equal_its_packed_raw_fields(nuclei: Segmenter) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (61, 90, 1), np.uint8)
    raw = run_alone(nuclei, whole(to_input(pixels, "grey", "percentile")))
    assert nuclei.fields(pixels) == pack(raw, nuclei.spec.unit)
    assert len(unpack(nuclei.fields(pixels)).index) > 50


@EITHER_DEVICE
@pytest.mark.parametrize(("channel", "seed"), [(0, 1.0), (2, 1.0), (4, np.nan)])
def test_nan_is_an_error_in_the_wanted_part_only(compacted: Compacted, channel: int, seed: float) -> None:
    raw = np.ones((2, 5, 8, 8), np.float32)
    raw[1, 4, 3, 4], raw[1, channel, 3, 4] = seed, np.nan
    with pytest.raises(InvalidFields, match="NaN"):
        compacted(raw, [(slice(0, 8), slice(0, 8)), (slice(3, 4), slice(4, 8))])
    compacted(raw, [(slice(0, 8), slice(0, 8)), (slice(3, 4), slice(5, 8))])
    raw[1, 4, 3, 4] = -1  # background pixels are not checked
    compacted(raw, [(slice(0, 8), slice(0, 8))] * 2)


# Precision


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_is_close_and_its_results_are_float32(precision: Precision) -> None:
    exact, half = Segmenter.load(find("nuclei")), Segmenter.load(find("nuclei"), precision=precision)
    assert half.nbytes == pytest.approx(exact.nbytes / 2, rel=0.01)
    batch = [whole(image(40, 48, 3)), whole(image(24, 30, 4))]
    for rounded, true in zip(run(half, batch, aligned_shape(40, 48)), run(exact, batch, (40, 48)), strict=True):
        assert rounded.dtype == np.float32
        assert 0 < np.abs(rounded - true).mean() < 0.1


def test_a_program_keeps_the_precision_that_it_was_exported_with() -> None:
    segmenter = Segmenter(nn.Conv2d(1, 5, 1), ModelSpec(name="p", network="program"), precision="bf16")
    assert run_alone(segmenter, whole(np.zeros((1, 8, 8), np.float32))).dtype == np.float32
