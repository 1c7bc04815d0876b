"""Tiled equals untiled, for any network with a known receptive field and on real images."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from examples.samples import samples
from maskq.segmentation.arrays import Floats
from maskq.segmentation.clustering.fields import CompactFields, Packer
from maskq.segmentation.errors import ImageTooLarge
from maskq.segmentation.images import decode
from maskq.segmentation.models.registry import find
from maskq.segmentation.models.spec import ModelSpec
from maskq.segmentation.network.architectures.branched_erfnet import HALO
from maskq.segmentation.network.branched_erfnet import BranchedERFNet
from maskq.segmentation.network.inference import Input, RunInput
from maskq.segmentation.network.preprocessing import pad
from maskq.segmentation.network.shape_buckets import aligned_shape, round_up
from maskq.segmentation.network.tiling import Bounds, layout, stitch
from maskq.segmentation.network.tta import with_tta
from maskq.segmentation.segmenter import Segmenter

sides = st.integers(1, 200)
Forward = Callable[[Floats], Floats]

pytestmark = pytest.mark.usefixtures("one_thread")


class Canvas(Packer):
    """A packer that keeps the raw fields, and the number of times that each pixel was added."""

    def __init__(self, shape: tuple[int, int]) -> None:
        super().__init__(shape, 64)
        self.raw, self.times = np.zeros((5, *shape), np.float32), np.zeros(shape, int)

    def add(self, raw: CompactFields | Floats, top: int, left: int) -> None:
        assert not isinstance(raw, CompactFields)
        part = np.s_[top : top + raw.shape[1], left : left + raw.shape[2]]
        self.raw[(slice(None), *part)] = raw
        self.times[part] += 1


def stitched(
    planes: Floats, run: RunInput, halo: int, tile_pixels: int, shape: tuple[int, int] | None = None
) -> Floats:
    _, height, width = planes.shape
    canvas = Canvas(shape or (height, width))
    stitch(planes, run, canvas, halo, tile_pixels)
    assert (canvas.times == 1).all()
    return canvas.raw


def forward_of(network: nn.Module) -> Forward:
    def forward(planes: Floats) -> Floats:
        with torch.inference_mode():
            result: Floats = network(torch.from_numpy(planes)[None])[0].numpy()
        return result

    return forward


def run_by(forward: Forward) -> RunInput:
    """Run an input as a device does: return the fields of its core."""
    return lambda item: forward(item.planes)[:, *item.core]


def reach(network: nn.Module, cells: int) -> int:
    """How many pixels a pixel's effect extends beyond its cell of 8 pixels, along a strip of `cells` cells."""
    farthest = 0
    for phase in range(8):
        planes = np.zeros((1, 8, 8 * cells), np.float32)
        middle = 8 * (cells // 2)
        planes[..., middle + phase] = np.nan  # each value that depends on it becomes NaN
        seen = np.flatnonzero(np.isnan(forward_of(network)(planes)).any(axis=(0, 1)))
        farthest = max(farthest, middle - seen[0] // 8 * 8, seen[-1] // 8 * 8 - middle)
        assert seen[0] > 0 and seen[-1] < 8 * cells - 1, "the strip is too short to tell"
    return farthest


def small_network() -> nn.Module:
    """A small network with our structure: three stride-2 layers, a dilated one, three transposed ones."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, stride=2, padding=1),
        nn.Conv2d(4, 4, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(4, 4, 3, stride=2, padding=1),
        nn.Conv2d(4, 4, 3, padding=2, dilation=2),
        nn.ConvTranspose2d(4, 4, 3, stride=2, padding=1, output_padding=1),
        nn.ConvTranspose2d(4, 4, 3, stride=2, padding=1, output_padding=1),
        nn.ConvTranspose2d(4, 5, 2, stride=2),
    ).eval()


def with_trained_norms(network: nn.Module) -> nn.Module:
    """Set norms as in a trained network, so that values keep their magnitude."""
    for block in network.modules():
        if isinstance(block, nn.BatchNorm2d):
            assert block.running_var is not None
            block.running_var.fill_(0.3)
    return network.eval()


SMALL = small_network()
SMALL_HALO = reach(SMALL, 16)


# The receptive field


def test_the_halo_equals_the_networks_reach() -> None:
    assert reach(with_trained_norms(BranchedERFNet(1, 2)), 240) == HALO


# The layout


@given(sides, sides, st.integers(0, 64), st.integers(64, 40_000))
def test_each_pixel_is_in_one_core_and_each_tile_sees_its_halo_or_the_images_border(
    height: int, width: int, halo: int, tile_pixels: int
) -> None:
    rows, columns = layout((height, width), halo, tile_pixels)
    for side, spans in ((height, rows), (width, columns)):
        assert [span.core.start for span in spans] == [0, *(span.core.stop for span in spans[:-1])]
        assert spans[-1].core.stop == side
        assert len({span.seen.stop - span.seen.start for span in spans}) == 1
        for span in spans:
            assert span.core.start < span.core.stop
            assert span.core.start % 8 == span.seen.start % 8 == span.seen.stop % 8 == 0
            assert 0 <= span.seen.start <= max(0, span.core.start - halo)
            assert span.seen.stop >= min(round_up(side), span.core.stop + halo)
            assert span.seen.stop <= round_up(side)


@given(st.integers(1, 30_000), st.integers(1, 30_000))
def test_tiles_keep_the_limit_and_the_work_is_moderate(height: int, width: int) -> None:
    rows, columns = layout((height, width), HALO, 20_000_000)
    tile = (rows[0].seen.stop - rows[0].seen.start) * (columns[0].seen.stop - columns[0].seen.start)
    assert tile <= 20_000_000
    assert len(rows) * len(columns) * tile <= 2 * max(math.prod(aligned_shape(height, width)), 20_000_000)


def test_an_image_within_the_limit_is_one_tile_of_its_aligned_shape() -> None:
    rows, columns = layout((1001, 700), HALO, 1008 * 704)
    assert [(len(spans), spans[0].seen.stop) for spans in (rows, columns)] == [(1, 1008), (1, 704)]


def test_an_impossible_limit_does_not_make_a_million_tiles() -> None:
    rows, columns = layout((5000, 5000), HALO, 1)
    assert len(rows) == len(columns) <= 9


# Tiled equals untiled


@given(sides, sides, st.integers(2_000, 20_000), st.booleans(), st.integers(0, 99))
@settings(deadline=None, max_examples=25)
def test_tiled_equals_untiled_for_a_network_of_known_receptive_field(
    height: int, width: int, tile_pixels: int, tta: bool, seed: int
) -> None:
    planes = np.random.default_rng(seed).normal(0, 1, (1, height, width)).astype(np.float32)
    run = with_tta(run_by(forward_of(SMALL))) if tta else run_by(forward_of(SMALL))
    whole = run(Input(pad(planes), (slice(0, height), slice(0, width)), compact=False))
    assert isinstance(whole, np.ndarray)
    np.testing.assert_allclose(stitched(planes, run, SMALL_HALO, tile_pixels), whole, atol=1e-5)


@given(sides, sides, st.floats(0.2, 3), st.integers(0, 99))
@settings(deadline=None, max_examples=25)
def test_tiled_equals_untiled_if_the_image_is_resized(height: int, width: int, by: float, seed: int) -> None:
    size = tuple(max(1, round(side * by)) for side in (height, width))
    planes = np.random.default_rng(seed).normal(0, 1, (1, *size)).astype(np.float32)
    whole = stitched(planes, run_by(forward_of(SMALL)), SMALL_HALO, 10**9, (height, width))
    np.testing.assert_allclose(
        stitched(planes, run_by(forward_of(SMALL)), SMALL_HALO, 5_000, (height, width)), whole, atol=1e-5
    )


@pytest.mark.parametrize("shape", [(2000, 70), (61, 2450)])
def test_tiled_equals_untiled_for_our_network(shape: tuple[int, int]) -> None:
    torch.manual_seed(1)
    forward = forward_of(with_trained_norms(BranchedERFNet(1, 2)))
    planes = np.random.default_rng(0).normal(0, 1, (1, *shape)).astype(np.float32)
    seen = []

    def recorded(tile: Floats) -> Floats:
        seen.append(tile.shape)
        return forward(tile)

    tiled = stitched(planes, run_by(recorded), HALO, 1)
    assert len(seen) > 1 and len(set(seen)) == 1
    whole = forward(pad(planes))[:, : shape[0], : shape[1]]
    assert whole.std() > 0.01
    np.testing.assert_allclose(tiled, whole, atol=1e-4 * np.abs(whole).max())


def test_a_halo_that_is_too_narrow_changes_the_fields() -> None:
    """The equality above is not trivial."""
    planes = np.random.default_rng(0).normal(0, 1, (1, 200, 200)).astype(np.float32)
    whole = forward_of(SMALL)(pad(planes))[:, :200, :200]
    assert np.abs(stitched(planes, run_by(forward_of(SMALL)), SMALL_HALO - 8, 10_000) - whole).max() > 1e-4


def test_tiled_equals_untiled_label_for_label_on_a_real_image() -> None:
    nuclei = decode(next(path for path in samples() if path.name == "img2d.tif").read_bytes())
    pixels = np.tile(nuclei[:, 100:260], (4, 1, 1))[:1800]
    segmenter = Segmenter.load(find("nuclei"))
    whole, scores = segmenter.segment(pixels)
    for tile_pixels in (270_000, 1):
        labels, tiled_scores = segmenter.segment(pixels, bounds=Bounds(tile_pixels=tile_pixels))
        np.testing.assert_array_equal(labels, whole)
        np.testing.assert_allclose(tiled_scores, scores, atol=1e-3)
    assert len(scores) > 50


# Images that can't be tiled


@given(st.integers(1, 30_000), st.integers(1, 30_000), st.integers(0, 4096), st.integers(1, 30_000_000))
def test_a_tile_keeps_twice_the_limit_or_the_image_is_refused(
    height: int, width: int, halo: int, tile_pixels: int
) -> None:
    try:
        rows, columns = layout((height, width), halo, tile_pixels)
    except ImageTooLarge:
        assert halo > HALO
    else:
        tile = (rows[0].seen.stop - rows[0].seen.start) * (columns[0].seen.stop - columns[0].seen.start)
        assert tile <= 2 * max(tile_pixels, 3_444_736)


def test_an_image_is_refused_if_the_halo_makes_one_huge_tile_of_it() -> None:
    with pytest.raises(ImageTooLarge, match=r"10000×10000 .* halo of 6000 pixels, a tile has 100,000,000"):
        layout((10_000, 10_000), 6000, 20_000_000)


def test_a_program_of_unknown_halo_is_not_tiled() -> None:
    pixels, bounds = np.zeros((200, 16, 1), np.uint8), Bounds(tile_pixels=2_000)
    with pytest.raises(ImageTooLarge, match="200×16 .* model p can't be run in tiles"):
        Segmenter(small_network(), ModelSpec(name="p", network="program")).segment(pixels, bounds=bounds)
    segmenter = Segmenter(small_network(), ModelSpec(name="p", network="program", halo=SMALL_HALO))
    assert segmenter.segment(pixels, bounds=bounds)[0].shape == (200, 16)
