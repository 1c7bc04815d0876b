"""Objects of a label map, against a simple oracle with one full-frame mask per object."""

from __future__ import annotations

import json
from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pycocotools import mask as coco

from maskq.segmentation.arrays import Labels
from maskq.segmentation.objects import Object, describe

# Few ids, so that runs of several pixels, runs over columns' ends and missing ids all occur.
label_maps = hnp.arrays(np.int32, hnp.array_shapes(min_dims=2, max_dims=2, max_side=40), elements=st.integers(0, 6))


def expected(labels: Labels, scores: list[float]) -> list[Object]:
    """The oracle: one mask per object."""
    objects = []
    for i, score in enumerate(scores, 1):
        ys, xs = np.nonzero(labels == i)
        if len(ys):
            left, top = int(xs.min()), int(ys.min())
            box = (left, top, int(xs.max()) - left + 1, int(ys.max()) - top + 1)
            rle = coco.encode(np.asfortranarray(labels == i, np.uint8))
            centroid = (float(xs.mean()), float(ys.mean()))
            size = (labels.shape[0], labels.shape[1])
            objects.append(Object(i, score, box, len(ys), centroid, size, rle["counts"].decode()))
    return objects


def assert_same(actual: list[Object], wanted: list[Object]) -> None:
    assert [vars(o) | {"centroid": None} for o in actual] == [vars(o) | {"centroid": None} for o in wanted]
    for one, other in zip(actual, wanted, strict=True):
        assert one.centroid == pytest.approx(other.centroid, rel=1e-12, abs=1e-12)


@settings(deadline=None)  # the first call compiles
@given(label_maps)
def test_every_object_matches_its_mask(labels: Labels) -> None:
    scores = [0.9, 0.8, 0.7, 0.6, 0.5, 0.4]
    assert_same(describe(labels, scores), expected(labels, scores))


@settings(deadline=None)  # the first call compiles
@given(label_maps)
def test_memory_order_does_not_matter(labels: Labels) -> None:
    scores = [0.5] * 6
    wide = np.repeat(labels, 2, axis=1)
    assert describe(np.asfortranarray(labels), scores) == describe(labels, scores) == describe(wide[:, ::2], scores)


@pytest.mark.parametrize("shape", [(1, 1), (1, 50), (50, 1), (33, 17)])
def test_an_object_that_fills_the_image_is_one_run(shape: tuple[int, int]) -> None:
    labels = np.ones(shape, np.int32)
    assert_same(describe(labels, [0.9]), expected(labels, [0.9]))


def test_a_fully_overwritten_object_is_left_out() -> None:
    labels = np.zeros((8, 8), np.int32)
    labels[2:5, 2:5] = 2
    assert [o.id for o in describe(labels, [0.95, 0.92])] == [2]


@pytest.mark.parametrize("shape", [(5, 7), (0, 7), (5, 0)])
def test_an_empty_map_has_no_objects(shape: tuple[int, int]) -> None:
    assert describe(np.zeros(shape, np.int32), []) == []
    assert describe(np.zeros(shape, np.int32), [0.9, 0.9]) == []


def test_more_objects_than_16_bits_can_count() -> None:
    labels = np.arange(300 * 300, dtype=np.int32).reshape(300, 300)
    objects = describe(labels, [0.9] * (300 * 300 - 1))
    last = objects[-1]
    assert len(objects) == 89_999
    assert (last.id, last.bbox, last.area, last.centroid) == (89_999, (299, 299, 1, 1), 1, (299.0, 299.0))


@pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")  # pycocotools' own, in decode
def test_an_object_round_trips_through_json_and_decodes_to_its_mask() -> None:
    labels = np.zeros((9, 12), np.int32)
    labels[3:7, 4:10] = 1
    (written,) = (json.loads(json.dumps(asdict(o))) for o in describe(labels, np.array([0.75], np.float32)))
    assert written["score"] == 0.75
    assert written["bbox"] == [4, 3, 6, 4]
    assert written["area"] == 24
    assert written["centroid"] == [6.5, 4.5]
    assert (coco.decode({"size": written["size"], "counts": written["rle"]}) == labels).all()


@pytest.mark.parametrize("label", [-1, 3, 2**31 - 1])
def test_a_label_without_a_score_is_refused(label: int) -> None:
    with pytest.raises(ValueError, match="number of scores"):
        describe(np.array([[0, 1], [2, label]], np.int32), [0.9, 0.9])


def test_a_stack_of_maps_is_refused() -> None:
    with pytest.raises(ValueError, match=r"\(2, 3, 4\)"):
        describe(np.zeros((2, 3, 4), np.int32), [])
