"""Objects of consecutive planes are joined to one number through a stack."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from maskq.segmentation.linking import Linker

PLANES = arrays(np.int32, st.tuples(st.integers(2, 5), st.just(6), st.just(7)), elements=st.integers(0, 4))


def linked(planes: Sequence[Any] | NDArray[Any], threshold: float = 0.25) -> NDArray[np.int32]:
    """(N, H, W) labels in one numbering."""
    linker = Linker(threshold)
    return np.stack([linker.add(np.asarray(plane, np.int32))[plane] for plane in planes])


def ball(shape: tuple[int, int, int], centre: tuple[int, int, int], radius: float) -> NDArray[np.bool_]:
    z, y, x = np.indices(shape)
    inside: NDArray[np.bool_] = sum((a - c) ** 2 for a, c in zip((z, y, x), centre, strict=True)) <= radius**2
    return inside


def sections(volume: NDArray[Any], seed: int = 0) -> NDArray[np.int32]:
    """The volume's planes, each with ids of its own from 1, in random order."""
    random = np.random.default_rng(seed)
    planes = np.zeros(volume.shape, np.int32)
    for plane, labels in zip(planes, volume, strict=True):
        present = np.setdiff1d(labels, 0)
        for new, old in enumerate(random.permutation(present), 1):
            plane[labels == old] = new
    return planes


def partition(labels: NDArray[Any]) -> set[frozenset[int]]:
    """The objects as sets of pixels, whatever their numbers are."""
    return {frozenset(np.flatnonzero(labels == number).tolist()) for number in np.unique(labels) if number}


def test_spheres_through_the_planes_get_one_number_each() -> None:
    volume = np.zeros((12, 40, 60), np.int32)
    for number, centre in enumerate([(5, 12, 12), (6, 25, 30), (4, 15, 48)], 1):
        volume[ball((12, 40, 60), centre, 6.5)] = number
    assert partition(linked(sections(volume), 0.2)) == partition(volume)


def test_two_spheres_above_each_other_with_a_gap_stay_two() -> None:
    volume = np.zeros((15, 20, 20), np.int32)
    volume[ball(volume.shape, (3, 10, 10), 3.5)] = 1
    volume[ball(volume.shape, (11, 10, 10), 3.5)] = 2
    assert not volume[7].any()
    assert partition(linked(sections(volume), 0.1)) == partition(volume)


def test_of_an_object_that_splits_the_larger_part_keeps_the_number() -> None:
    whole, parts = np.zeros((4, 10), np.int32), np.zeros((4, 10), np.int32)
    whole[:], parts[:, :6], parts[:, 6:] = 1, 2, 1
    labels = linked([whole, parts])
    assert (labels[1, :, :6] == 1).all() and (labels[1, :, 6:] == 2).all()


def test_of_two_objects_that_merge_the_larger_gives_its_number() -> None:
    parts, whole = np.zeros((4, 10), np.int32), np.ones((4, 10), np.int32)
    parts[:, :6], parts[:, 6:] = 2, 1
    labels = linked([parts, whole])
    assert (labels[1] == labels[0, 0, 0]).all()


def test_objects_below_the_threshold_get_new_numbers() -> None:
    one, other = np.zeros((1, 10), np.int32), np.zeros((1, 10), np.int32)
    one[0, :5], other[0, 3:8] = 1, 1  # IoU 2 / 8
    assert linked([one, other], 0.25).max() == 1
    assert linked([one, other], 0.26).max() == 2


def test_nothing_is_joined_over_a_restart_or_an_empty_plane() -> None:
    plane, empty = np.ones((3, 3), np.int32), np.zeros((3, 3), np.int32)
    assert linked([plane, empty, plane])[2].max() == 2
    linker = Linker(0.25)
    linker.add(plane)
    linker.restart()
    assert linker.add(plane).tolist() == [0, 2] and linker.count == 2


def test_an_id_without_pixels_gets_no_number() -> None:
    linker = Linker(0.25)
    assert linker.add(np.array([[3, 0, 1]], np.int32)).tolist() == [0, 1, 0, 2]


def test_planes_of_two_sizes_are_refused() -> None:
    linker = Linker(0.25)
    linker.add(np.ones((3, 3), np.int32))
    with pytest.raises(ValueError, match="can't be joined"):
        linker.add(np.ones((3, 4), np.int32))


@given(PLANES, st.floats(0.05, 1))
def test_each_plane_keeps_its_objects_and_numbers_are_consecutive(planes: NDArray[np.int32], threshold: float) -> None:
    labels = linked(planes, threshold)
    for before, after in zip(planes, labels, strict=True):
        assert partition(before) == partition(after)
    assert np.setdiff1d(labels, 0).tolist() == list(range(1, labels.max() + 1))


@given(PLANES, st.floats(0.05, 1), st.permutations([1, 2, 3, 4]))
def test_the_ids_within_a_plane_decide_nothing(
    planes: NDArray[np.int32], threshold: float, permutation: list[int]
) -> None:
    renamed = np.array([0, *permutation], np.int32)[planes]
    assert partition(linked(planes, threshold)) == partition(linked(renamed, threshold))


@given(PLANES, st.floats(0.05, 1))
def test_what_is_joined_overlaps_enough(planes: NDArray[np.int32], threshold: float) -> None:
    labels = linked(planes, threshold)
    for before, after in pairwise(labels):
        for number in np.intersect1d(before[before > 0], after[after > 0]):
            one, other = before == number, after == number
            assert (one & other).sum() / (one | other).sum() >= threshold
