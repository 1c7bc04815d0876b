"""The scikit-image baseline on pictures with known objects."""

from __future__ import annotations

import numpy as np
import pytest

from maskq.segmentation.arrays import Floats, Labels
from maskq.segmentation.evaluation.baseline import otsu_watershed
from maskq.segmentation.evaluation.metrics import score


def two_touching_discs() -> tuple[Floats, Labels]:
    """A noisy (80, 120) picture and its truth."""
    y, x = np.mgrid[:80, :120]
    truth = np.zeros((80, 120), np.int32)
    truth[np.hypot(y - 40, x - 40) < 18] = 1
    truth[np.hypot(y - 40, x - 74) < 18] = 2
    noise = np.random.default_rng(0).normal(0, 0.05, truth.shape)
    return ((truth > 0) + noise).astype(np.float32), truth


def test_touching_discs_are_separated() -> None:
    plane, truth = two_touching_discs()
    labels = otsu_watershed(plane)
    assert labels.dtype == np.int32 and np.unique(labels).tolist() == [0, 1, 2]
    assert score(truth, labels, (0.9,)).matches[0].tp == 2


def test_scale_and_offset_of_the_plane_do_not_matter() -> None:
    plane, _ = two_touching_discs()
    assert (otsu_watershed(plane * 1024 - 512) == otsu_watershed(plane)).all()


def test_specks_are_dropped_and_the_rest_numbered_without_gaps() -> None:
    plane, _ = two_touching_discs()
    plane[2:7, 2:7] = 1
    assert otsu_watershed(plane, min_pixels=26).max() == 2
    assert np.unique(otsu_watershed(plane, min_pixels=25)).tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("shape", [(30, 30), (0, 5)])
def test_a_flat_plane_has_no_objects(shape: tuple[int, int]) -> None:
    labels = otsu_watershed(np.full(shape, 0.5, np.float32))
    assert labels.shape == shape and labels.dtype == np.int32 and not labels.any()


def test_a_stack_of_planes_is_refused() -> None:
    with pytest.raises(ValueError, match=r"\(3, 8, 8\)"):
        otsu_watershed(np.zeros((3, 8, 8), np.float32))
