"""Resampling and test-time augmentation: images are resized and turned, and the fields are transformed back."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from maskq.segmentation.arrays import Floats
from maskq.segmentation.clustering.cluster import Clustering, cluster
from maskq.segmentation.clustering.fields import unpack
from maskq.segmentation.errors import ImageTooLarge, InvalidDiameter
from maskq.segmentation.models.spec import ModelSpec
from maskq.segmentation.network.branched_erfnet import BranchedERFNet
from maskq.segmentation.network.inference import Input, RunInput
from maskq.segmentation.network.resampling import pixel_positions, resize, sample
from maskq.segmentation.network.tta import with_tta
from maskq.segmentation.rescaling import clustering_parameters, resized_shape, scale_factor
from maskq.segmentation.segmenter import Segmenter

Forward = Callable[[Floats], Floats]

SPEC = ModelSpec(name="x", scale=0.5, diameter=20, min_pixels=30, min_unclustered=8)


# The scale factor, and parameters in pixels


def test_an_image_is_resized_by_the_models_scale_and_by_how_much_larger_its_objects_are() -> None:
    assert scale_factor(SPEC) == 0.5
    assert scale_factor(SPEC, 20) == 0.5
    assert scale_factor(SPEC, 10) == 1
    assert scale_factor(SPEC, 80) == 0.125


def test_what_the_model_counts_in_pixels_grows_with_the_objects_and_what_the_job_counts_does_not() -> None:
    assert clustering_parameters(SPEC) == Clustering(0.9, 30, 8)
    assert clustering_parameters(SPEC, 0.7, diameter=40) == Clustering(0.7, 120, 32)
    assert clustering_parameters(SPEC, None, 7, diameter=40) == Clustering(0.9, 7, 32)


@pytest.mark.parametrize("ask", [scale_factor, lambda spec, diameter: clustering_parameters(spec, diameter=diameter)])
def test_a_diameter_that_a_model_cannot_be_shown_is_refused_with_those_that_it_can(
    ask: Callable[[ModelSpec, float], object],
) -> None:
    with pytest.raises(InvalidDiameter, match="model y does not know"):
        ask(ModelSpec(name="y"), 20)
    with pytest.raises(InvalidDiameter, match="321 pixels is 16.1 times .* from 1.25 to 320"):
        ask(SPEC, 321)
    with pytest.raises(InvalidDiameter, match="from 1.25 to 320"):
        ask(SPEC, 1.2)


def test_a_resized_image_has_a_pixel_at_least_and_no_more_than_the_bound() -> None:
    assert resized_shape((100, 3), 0.1, 10) == (10, 1)
    assert resized_shape((100, 100), 2, 40_000) == (200, 200)
    with pytest.raises(ImageTooLarge, match="100×100, resized by 2 .* is 40,000 pixels, over the limit of 39,999"):
        resized_shape((100, 100), 2, 39_999)


# Resizing


def test_resizing_to_the_same_size_changes_nothing() -> None:
    image = np.random.default_rng(0).random((2, 5, 6), np.float32)
    assert resize(image, (5, 6)) is image


@pytest.mark.parametrize("size", [(11, 60), (40, 25), (90, 130)])
def test_fields_come_back_to_where_the_image_was(size: tuple[int, int]) -> None:
    """A ramp stays the same ramp, except near the border."""
    y, x = np.mgrid[:40, :60].astype(np.float32)
    resized = resize(np.stack([x, y]), size)
    back = sample(resized, pixel_positions(40, size[0]), pixel_positions(60, size[1]))
    border = 6
    inner = np.s_[border:-border, border:-border]
    np.testing.assert_allclose(back[0][inner], x[inner], atol=0.02)
    np.testing.assert_allclose(back[1][inner], y[inner], atol=0.02)


def test_sampling_is_what_torch_does_without_antialiasing() -> None:
    raw = np.random.default_rng(0).normal(0, 1, (5, 17, 23)).astype(np.float32)
    for size in ((40, 50), (9, 12), (17, 60)):
        expected = torch.nn.functional.interpolate(torch.from_numpy(raw)[None], size, mode="bilinear")[0].numpy()
        sampled = sample(raw, pixel_positions(size[0], 17), pixel_positions(size[1], 23))
        np.testing.assert_allclose(sampled, expected, atol=1e-5)


def run_by(forward: Forward) -> RunInput:
    """Run an input as a device does: return the fields of its core."""
    return lambda item: forward(item.planes)[:, *item.core]


def mean_over_views(forward: Forward, image: Floats) -> Floats:
    whole = slice(0, image.shape[1]), slice(0, image.shape[2])
    result = with_tta(run_by(forward))(Input(image, whole, compact=False))
    assert isinstance(result, np.ndarray)
    return result


def discs(radius: int, unit: int) -> Forward:
    """A network that finds discs of one radius, on a lattice of 4 radii, in every input."""

    def forward(planes: Floats) -> Floats:
        _, height, width = planes.shape
        y, x = np.mgrid[:height, :width].astype(np.float32)
        pitch = 4 * radius
        to_x, to_y = ((at // pitch + 0.5) * pitch - 0.5 - at for at in (x, y))
        far = np.hypot(to_x, to_y)
        raw = np.empty((5, height, width), np.float32)
        raw[0], raw[1] = np.arctanh(np.clip(to_x / unit, -0.99, 0.99)), np.arctanh(np.clip(to_y / unit, -0.99, 0.99))
        raw[2:4] = np.log(np.log(2) / (0.5 * radius / unit) ** 2) / 10
        raw[4] = 8 * (1 - far / radius)
        return raw

    return forward


@pytest.mark.parametrize("diameter", [10.0, 20.0, 50.0])
def test_objects_of_another_magnification_are_found_where_they_are_and_as_large_as_they_are(diameter: float) -> None:
    """The model was trained on objects of 20 pixels, and the image is resized so that its objects have 20."""
    spec = ModelSpec(name="x", diameter=20, unit=64, min_pixels=40)
    segmenter = Segmenter(BranchedERFNet(1, 2), spec)
    side = round(8 * diameter)  # four discs a side, two diameters apart
    packed = segmenter.fields(np.zeros((side, side, 1), np.uint8), diameter=diameter, run=run_by(discs(10, 64)))
    labels, scores = cluster(unpack(packed), clustering_parameters(spec, diameter=diameter))
    assert labels.shape == (side, side) and len(scores) == 16
    areas = np.bincount(labels.ravel())[1:]
    np.testing.assert_allclose(areas, np.pi * diameter**2 / 4, rtol=0.12)
    for label in range(1, 17):
        rows, columns = np.nonzero(labels == label)
        centre = np.array([rows.mean(), columns.mean()])
        nearest = (np.round((centre + 0.5) / (2 * diameter) - 0.5) + 0.5) * 2 * diameter - 0.5
        np.testing.assert_allclose(centre, nearest, atol=0.6)


# Eight views


def test_the_mean_over_views_is_of_the_part_that_is_wanted() -> None:
    image = np.random.default_rng(0).random((1, 16, 24), np.float32)
    run, core = with_tta(run_by(gradients)), (slice(3, 11), slice(5, 24))
    np.testing.assert_array_equal(run(Input(image, core, compact=True)), mean_over_views(gradients, image)[:, *core])


def gradients(planes: Floats, bandwidths: int = 2) -> Floats:
    """Fields that turn with the image: offsets are its gradient, bandwidths the gradient's absolute values."""
    image = np.pad(planes[0], 1, mode="edge")
    right = image[1:-1, 2:] - image[1:-1, :-2]
    down = image[2:, 1:-1] - image[:-2, 1:-1]
    sigma = [np.abs(right), np.abs(down)] if bandwidths == 2 else [np.abs(right) + np.abs(down)]
    return np.stack([right, down, *sigma, planes[0] - 0.5]).astype(np.float32)


@given(st.integers(1, 5), st.integers(1, 5), st.sampled_from([1, 2]), st.integers(0, 99))
@settings(deadline=None)
def test_a_network_that_turns_with_its_image_says_the_same_over_eight_views(
    rows: int, columns: int, bandwidths: int, seed: int
) -> None:
    image = np.random.default_rng(seed).random((1, 8 * rows, 8 * columns), np.float32)

    def forward(planes: Floats) -> Floats:
        return gradients(planes, bandwidths)

    np.testing.assert_allclose(mean_over_views(forward, image), forward(image), atol=1e-6)


def test_what_a_network_says_whatever_it_sees_is_no_offset_and_one_bandwidth() -> None:
    """Its offset is "right and down" in each view; the mean over all views is 0."""

    def forward(planes: Floats) -> Floats:
        return np.broadcast_to(np.array([1, 2, 3, 5, 7], np.float32)[:, None, None], (5, *planes.shape[1:]))

    mean = mean_over_views(forward, np.zeros((1, 8, 16), np.float32))
    np.testing.assert_allclose(
        mean, np.broadcast_to(np.array([0, 0, 4, 4, 7], np.float32)[:, None, None], (5, 8, 16)), atol=1e-6
    )


def test_the_network_is_shown_eight_different_views_and_two_shapes() -> None:
    seen = []
    image = np.random.default_rng(0).random((3, 8, 16), np.float32)

    def forward(planes: Floats) -> Floats:
        seen.append(planes.copy())
        return np.zeros((4, *planes.shape[1:]), np.float32)

    mean_over_views(forward, image)
    assert {view.shape for view in seen} == {(3, 8, 16), (3, 16, 8)}
    assert len({view.tobytes() for view in seen}) == 8
    np.testing.assert_array_equal(seen[0], image)


def test_the_mean_of_a_real_network_turns_with_the_image() -> None:
    torch.manual_seed(0)
    segmenter = Segmenter(BranchedERFNet(1, 2), ModelSpec(name="x"))
    image = np.random.default_rng(0).normal(0, 1, (1, 24, 40)).astype(np.float32)
    raw, turned = (
        mean_over_views(lambda planes: segmenter.forward(planes[None])[0], seen)
        for seen in (image, np.ascontiguousarray(image[:, ::-1].swapaxes(1, 2)))
    )
    back = turned.swapaxes(1, 2)[[1, 0, 3, 2, 4]][:, ::-1] * np.array([1, -1, 1, 1, 1], np.float32)[:, None, None]
    np.testing.assert_allclose(back, raw, atol=1e-5)
