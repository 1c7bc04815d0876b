"""Batches: what an image is answered depends neither on its padding nor on what else is in its batch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from maskq.segmentation.clustering.fields import CompactFields, compact, pack, unpack
from maskq.segmentation.errors import InvalidFields
from maskq.segmentation.models.registry import find
from maskq.segmentation.models.spec import ModelSpec
from maskq.segmentation.network import inference
from maskq.segmentation.network.inference import InferenceRunner, Input
from maskq.segmentation.network.preprocessing import pad, to_input
from maskq.segmentation.network.shape_buckets import aligned_shape, bucket_shape
from maskq.segmentation.segmenter import Segmenter

pytestmark = pytest.mark.usefixtures("one_thread")

#: Raw values may differ by so much between an image alone and in a batch, padded or not: rounding, in other orders.
TOLERANCE = 1e-4
cells = st.integers(1, 6)


@pytest.fixture(scope="module")
def nuclei():
    return Segmenter.load(find("nuclei"))


def image(height, width, seed):
    """Discs on noise, prepared for the network; so bright at the border that what lies beyond it would matter."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    centres = rng.uniform(0, (height, width), (1 + height * width // 600, 2))
    near = np.min([np.hypot(y - cy, x - cx) for cy, cx in centres], 0) < 9
    return to_input((near * 150 + rng.normal(40, 5, near.shape)).astype(np.uint8)[..., None], "grey", "percentile")


def whole(planes, compact=False):
    return Input(pad(planes), (slice(0, planes.shape[1]), slice(0, planes.shape[2])), compact)


def answers(segmenter, batch, shape):
    return segmenter.finish(segmenter.start(batch, shape))


def alone(segmenter, one):
    return answers(segmenter, [one], one.planes.shape[1:])[0]


# Padding and batches


@given(cells, cells, st.integers(0, 20), st.integers(0, 20), st.integers(0, 99))
@settings(deadline=None, max_examples=30)
def test_padding_changes_nothing(nuclei, rows, columns, down, right, seed):
    one = whole(image(8 * rows, 8 * columns, seed))
    (padded,) = answers(nuclei, [one], (8 * (rows + down), 8 * (columns + right)))
    np.testing.assert_allclose(padded, alone(nuclei, one), atol=TOLERANCE)


@given(st.lists(st.tuples(st.integers(1, 48), st.integers(1, 48)), min_size=1, max_size=4), st.integers(0, 99))
@settings(deadline=None, max_examples=20)
def test_an_image_in_a_batch_of_many_sizes_gives_what_it_gives_alone(nuclei, sizes, seed):
    batch = [whole(image(*size, seed + n)) for n, size in enumerate(sizes)]
    for one, found in zip(batch, answers(nuclei, batch, (48, 56)), strict=True):
        assert found.shape[1:] == tuple(of.stop for of in one.core)
        np.testing.assert_allclose(found, alone(nuclei, one), atol=TOLERANCE)


def test_without_the_masks_padding_would_be_seen(nuclei):
    """So the equality above says something: by zeros or by the edge repeated, more than the whole of a margin."""
    planes = image(48, 48, 0)
    found = alone(nuclei, whole(planes))
    for mode in ("constant", "edge"):
        padded = np.pad(planes, ((0, 0), (0, 16), (0, 32)), mode=mode)
        assert np.abs(nuclei.forward(padded[None])[0, :, :48, :48] - found).max() > 0.5


def test_an_image_on_the_ladder_has_the_foreground_that_it_has_alone(nuclei):
    one = whole(image(118, 93, 1), compact=True)
    on_ladder, own = answers(nuclei, [one], bucket_shape(118, 93))[0], alone(nuclei, one)
    np.testing.assert_array_equal(on_ladder.foreground, own.foreground)
    np.testing.assert_allclose(on_ladder.values.astype(float), own.values.astype(float), rtol=2e-3, atol=TOLERANCE)
    assert 100 < own.foreground.sum() < 118 * 93 - 100


@given(
    st.lists(st.tuples(st.integers(1, 3), st.integers(1, 3)), min_size=1, max_size=3),
    st.integers(1, 3),
    st.integers(0, 2),
    st.integers(0, 2),
)
def test_beyond_an_input_there_is_nothing_of_what_the_memory_held_before(sizes, channels, down, right):
    batch = [whole(np.full((channels, 8 * rows, 8 * columns), 1 + n)) for n, (rows, columns) in enumerate(sizes)]
    shape = 8 * (max(rows for rows, _ in sizes) + down), 8 * (max(columns for _, columns in sizes) + right)

    def used(*arguments, own=torch.empty, **how):
        return own(*arguments, **how).fill_(torch.nan)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(torch, "empty", used)
        found = inference._stack(batch, shape)
    assert found.is_contiguous(memory_format=torch.channels_last)
    for own, (rows, columns), value in zip(found.numpy(), sizes, range(1, 4), strict=False):
        expected = np.zeros((channels, *shape), np.float32)
        expected[:, : 8 * rows, : 8 * columns] = value
        np.testing.assert_array_equal(own, expected)


@pytest.mark.parametrize("channels", [1, 3])
@torch.inference_mode()
def test_a_batch_of_the_inputs_own_shape_is_what_the_network_gives(channels):
    network = nn.Conv2d(channels, 5, 3, padding=1)
    planes = np.random.default_rng(0).normal(0, 1, (2, channels, 16, 24)).astype(np.float32)
    runner = InferenceRunner(network, torch.device("cpu"), torch.float32, supports_padding=False)
    batch = [Input(one, (slice(2, 9), slice(0, 24)), compact=False) for one in planes]
    found = runner.finish(runner.start(batch, (16, 24)))
    np.testing.assert_allclose(np.stack(found), network(torch.from_numpy(planes)).numpy()[:, :, 2:9], atol=1e-6)


def test_a_program_is_run_at_its_inputs_shape_alone():
    segmenter = Segmenter(nn.Conv2d(1, 5, 1), ModelSpec(name="p", network="program"))
    one = whole(np.zeros((1, 16, 16), np.float32))
    assert not segmenter.supports_padding and Segmenter.load(find("nuclei")).supports_padding
    assert alone(segmenter, one).shape == (5, 16, 16)
    with pytest.raises(ValueError, match=r"their own shape alone, and not all are \(16, 24\)"):
        segmenter.start([one], (16, 24))


# The foreground


class Given(nn.Module):
    """A network that gives the raw fields that it was given, whatever it sees."""

    def __init__(self, raw):
        super().__init__()
        self.raw = torch.from_numpy(raw)

    def forward(self, x):
        return self.raw.contiguous(memory_format=torch.channels_last)


def inputs(raw, cores):
    return [Input(np.zeros((1, *raw.shape[2:]), np.float32), core, compact=True) for core in cores]


def on_cpu(raw, cores):
    """What a CPU answers where its network gives `raw` (N, fields, h, w)."""
    runner = InferenceRunner(Given(raw), torch.device("cpu"), torch.float32, supports_padding=False)
    return runner.finish(runner.start(inputs(raw, cores), raw.shape[2:]))


def as_on_gpu(raw, cores):
    """The same by what a GPU does, without one."""
    batch = inputs(raw, cores)
    found = inference._compact_on_device(Given(raw)(None), inference._regions(batch)[:, 2:])
    return inference._split(batch, *(tensor.contiguous().numpy() for tensor in found))


EITHER_DEVICE = pytest.mark.parametrize("compacted", [on_cpu, as_on_gpu])


def cores(height, width):
    return st.tuples(*(st.tuples(st.integers(0, side - 1), st.integers(1, side)) for side in (height, width))).map(
        lambda ends: tuple(slice(min(pair), max(min(pair) + 1, *pair)) for pair in ends)
    )


#: Where float16 rounds, ends, or has no digits left; and what is no number's size.
EDGES = np.float32([0.0, -0.0, 65504, 65519, 65520, -65520, 1e6, 3e38, np.inf, -np.inf, 6e-8, 3e-8, 2.9e-8, -1e-45])


def raw_fields(shape, seed):
    """Values of the usual size, and among them all edges."""
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
def test_the_foreground_is_bit_for_bit_what_numpy_makes_of_the_raw_fields(compacted, shape, seed, data):
    raw = raw_fields(shape, seed)
    wanted = [data.draw(cores(*raw.shape[2:])) for _ in raw]
    for own, core, found in zip(raw, wanted, compacted(raw, wanted), strict=True):
        by_numpy = compact(np.ascontiguousarray(own[:, *core]))
        assert isinstance(found, CompactFields) and found.values.dtype == np.float16 and found.values.flags.c_contiguous
        np.testing.assert_array_equal(found.foreground, by_numpy.foreground)
        np.testing.assert_array_equal(found.values.view(np.uint16), by_numpy.values.view(np.uint16))


def test_a_batch_may_ask_for_some_raw_and_some_compact(nuclei):
    planes, core = image(40, 48, 2), (slice(8, 40), slice(0, 41))
    raw, foreground = answers(nuclei, [Input(planes, core, False), Input(planes, core, True)], (40, 48))
    assert raw.shape == (5, 32, 41) and raw.dtype == np.float32
    np.testing.assert_array_equal(foreground.values, compact(raw).values)


def test_an_image_is_packed_as_its_raw_fields_are(nuclei):
    pixels = np.random.default_rng(0).integers(0, 255, (61, 90, 1), np.uint8)
    raw = alone(nuclei, whole(to_input(pixels, "grey", "percentile")))
    assert nuclei.fields(pixels) == pack(raw, nuclei.spec.unit)
    assert len(unpack(nuclei.fields(pixels)).index) > 50


@EITHER_DEVICE
@pytest.mark.parametrize(("channel", "seed"), [(0, 1.0), (2, 1.0), (4, np.nan)])
def test_nan_in_the_part_that_is_wanted_is_told_and_elsewhere_it_is_not(compacted, channel, seed):
    raw = np.ones((2, 5, 8, 8), np.float32)
    raw[1, 4, 3, 4], raw[1, channel, 3, 4] = seed, np.nan
    with pytest.raises(InvalidFields, match="NaN"):
        compacted(raw, [(slice(0, 8), slice(0, 8)), (slice(3, 4), slice(4, 8))])
    compacted(raw, [(slice(0, 8), slice(0, 8)), (slice(3, 4), slice(5, 8))])
    raw[1, 4, 3, 4] = -1  # what is no foreground is not looked at
    compacted(raw, [(slice(0, 8), slice(0, 8))] * 2)


# Precision


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_is_near_and_its_answers_are_float32(precision):
    exactly, roughly = (Segmenter.load(find("nuclei"), precision=one) for one in ("fp32", precision))
    assert roughly.nbytes == pytest.approx(exactly.nbytes / 2, rel=0.01)
    batch = [whole(image(40, 48, 3)), whole(image(24, 30, 4))]
    for near, true in zip(
        answers(roughly, batch, aligned_shape(40, 48)), answers(exactly, batch, (40, 48)), strict=True
    ):
        assert near.dtype == np.float32
        assert 0 < np.abs(near - true).mean() < 0.1


def test_a_program_is_run_as_it_was_exported():
    segmenter = Segmenter(nn.Conv2d(1, 5, 1), ModelSpec(name="p", network="program"), precision="bf16")
    assert alone(segmenter, whole(np.zeros((1, 8, 8), np.float32))).dtype == np.float32
