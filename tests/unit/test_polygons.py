"""Polygons are the labels: filled again they give them pixel for pixel, and each is valid."""

from __future__ import annotations

import json

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray

from maskq.producer.polygons.json_text import coordinates
from maskq.producer.polygons.outlines import Labels, Polygon, polygons_of, trace
from maskq.producer.polygons.simplify import simplified

SHAPES = array_shapes(min_dims=2, max_dims=2, min_side=0, max_side=14)
IMAGES = st.integers(1, 4).flatmap(lambda top: arrays(np.int32, SHAPES, elements=st.integers(0, top)))


def image(*rows: str) -> Labels:
    """Labels as digits; `.` is background."""
    return np.array([[0 if pixel == "." else int(pixel) for pixel in row] for row in rows], np.int32)


def filled(polygons: list[Polygon], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """The pixels whose centre is inside, by the even-odd rule: each vertical edge inverts the pixels right of it."""
    mask = np.zeros(shape, np.bool_)
    for ring in (ring for polygon in polygons for ring in polygon):
        for (x, y), (next_x, next_y) in zip(ring, np.roll(ring, -1, axis=0), strict=True):
            if x == next_x:
                mask[min(y, next_y) : max(y, next_y), x:] ^= True
    return mask


def geometry(polygons: list[Polygon]) -> shapely.MultiPolygon:
    return shapely.MultiPolygon([(polygon[0], polygon[1:]) for polygon in polygons])


def assert_polygons_are_the_labels(labels: Labels) -> None:
    again = np.zeros_like(labels)
    for number, polygons in polygons_of(trace(labels)):
        mask = labels == number
        shape = geometry(polygons)
        assert shape.is_valid, shapely.is_valid_reason(shape)
        assert shape.area == mask.sum()
        assert np.array_equal(filled(polygons, labels.shape), mask)
        for ring in (ring for polygon in polygons for ring in polygon):
            assert len(np.unique(ring, axis=0)) == len(ring), "a ring passes a point twice"
            turns = np.diff(np.concatenate([ring, ring[:2]]), axis=0) != 0
            assert (turns.sum(axis=1) == 1).all() and (turns[:-1] != turns[1:]).all(), "every point is a corner"
        for exterior, *holes in polygons:
            assert shapely.LinearRing(exterior).is_ccw
            assert not any(shapely.LinearRing(hole).is_ccw for hole in holes)
        again[mask] = number
    assert np.array_equal(again, labels)


@given(IMAGES)
@settings(max_examples=300, deadline=None)
def test_any_labels_are_given_again_by_their_polygons(labels: Labels) -> None:
    assert_polygons_are_the_labels(labels)


@given(st.integers(0, 1 << 30), st.floats(0.3, 0.9))
@settings(max_examples=10, deadline=None)
def test_noise_with_holes_in_holes_is_given_again(seed: int, share: float) -> None:
    labels = (np.random.default_rng(seed).random((60, 50)) < share).astype(np.int32)
    assert_polygons_are_the_labels(labels)


@pytest.mark.parametrize(
    ("labels", "rings"),
    [
        pytest.param(image("1"), [[4]], id="one pixel that is the image"),
        pytest.param(image("....", ".1..", "...."), [[4]], id="one pixel"),
        pytest.param(image("1111"), [[4]], id="a line"),
        pytest.param(image("1..", ".1.", "..1"), [[4], [4], [4]], id="a diagonal: three parts"),
        pytest.param(image("111", "1.1", "111"), [[4, 4]], id="a hole"),
        pytest.param(image("11111", "1...1", "1.1.1", "1...1", "11111"), [[4, 4], [4]], id="an island in a hole"),
        pytest.param(image("111", "1.1", "11."), [[6, 4]], id="an outline that touches its hole"),
        pytest.param(image("1111", "1.11", "11.1", "1111"), [[4, 4, 4]], id="two holes that touch"),
        pytest.param(image(".1.", "1.1", ".1."), [[4], [4], [4], [4]], id="four parts around a pixel"),
        pytest.param(image("11..", "11..", "..11", "..11"), [[4], [4]], id="two squares that touch"),
    ],
)
def test_parts_and_holes(labels: Labels, rings: list[list[int]]) -> None:
    """`rings` are the corners of each ring of each polygon."""
    assert_polygons_are_the_labels(labels)
    ((_, polygons),) = polygons_of(trace(labels))
    assert [[len(ring) for ring in polygon] for polygon in polygons] == rings


def test_objects_in_a_checkerboard_of_two_touch_only_at_corners() -> None:
    labels = image("1212", "2121", "1212")
    assert_polygons_are_the_labels(labels)
    assert [len(polygons) for _, polygons in polygons_of(trace(labels))] == [6, 6]


def test_a_polygon_lies_on_pixel_edges_and_begins_at_its_first_corner() -> None:
    ((number, [[ring]]),) = polygons_of(trace(image(".....", "..33.", "..33.")))
    assert number == 3
    assert ring.tolist() == [[2, 1], [4, 1], [4, 3], [2, 3]]


def test_more_objects_than_16_bits_count() -> None:
    labels = np.arange(300 * 300, dtype=np.int32).reshape(300, 300)
    labels[labels > 0] += 2**31 - 90_001
    traced = trace(labels)
    assert len(traced.labels) == 300 * 300 - 1
    assert np.array_equal(traced.labels, labels.ravel()[1:])
    assert (np.diff(traced.starts) == 4).all() and traced.exterior.all()


def test_an_image_of_many_bands_is_traced_as_one() -> None:
    labels = np.zeros((5, 300_000), np.int32)
    labels[1:4, 100:299_900] = 7
    labels[2, 1000:2000] = 0
    ((_, [[exterior, hole]]),) = polygons_of(trace(labels))
    assert exterior.tolist() == [[100, 1], [299_900, 1], [299_900, 4], [100, 4]]
    assert hole.tolist() == [[1000, 2], [1000, 3], [2000, 3], [2000, 2]]


@pytest.mark.parametrize("shape", [(4,), (2, 2, 2)])
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="must be"):
        trace(np.zeros(shape, np.int32))


@given(IMAGES, st.sampled_from([0.3, 0.5, 1.0, 2.0, 5.0]))
@settings(max_examples=100, deadline=None)
def test_simplified_polygons_are_valid_and_lose_no_part_or_hole(labels: Labels, tolerance: float) -> None:
    exact, simple = dict(polygons_of(trace(labels))), dict(polygons_of(simplified(trace(labels), tolerance)))
    assert exact.keys() == simple.keys()
    for number, polygons in simple.items():
        assert geometry(polygons).is_valid
        assert sorted(map(len, polygons)) == sorted(map(len, exact[number]))
        corners = {tuple(point) for polygon in exact[number] for ring in polygon for point in ring.tolist()}
        assert corners >= {tuple(point) for polygon in polygons for ring in polygon for point in ring.tolist()}
        assert geometry(polygons).hausdorff_distance(geometry(exact[number])) <= tolerance
        for exterior, *holes in polygons:
            assert shapely.LinearRing(exterior).is_ccw
            assert not any(shapely.LinearRing(hole).is_ccw for hole in holes)


@pytest.mark.parametrize("width", [3, 9_999, 10_000, 1 << 20, (1 << 20) + 1, 10_000_001])
def test_coordinates_of_any_size_are_json(width: int) -> None:
    labels = np.zeros((2, width), np.uint8)
    labels[0, 0], labels[1, -2:] = 1, 2
    rings = trace(labels)
    texts = {number: (count, json.loads(text)) for number, count, text in coordinates(rings)}
    assert texts == {
        1: (1, [[[0, 0], [1, 0], [1, 1], [0, 1], [0, 0]]]),
        2: (1, [[[width - 2, 1], [width, 1], [width, 2], [width - 2, 2], [width - 2, 1]]]),
    }
