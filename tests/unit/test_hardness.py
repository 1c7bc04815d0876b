"""Images that a training gets wrong come more often, those that it has learnt less often, and none is forgotten."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from segmentation.training.hardness import followed, unknown


def after(*steps: tuple[list[int], list[float]], images: int = 4) -> NDArray[np.float64]:
    hardness = unknown(images)
    for numbers, terms in steps:
        hardness = followed(hardness, np.array(numbers), np.array(terms))
    return hardness


def test_at_first_all_images_are_as_hard() -> None:
    assert set(after()) == {1.0}


def test_what_is_learnt_gets_easier_and_what_is_not_stays_as_hard() -> None:
    np.testing.assert_allclose(after(*[([0, 1], [0.2, 0.9])] * 30), [0.2, 0.9, 1, 1], atol=1e-3)


def test_an_image_twice_in_a_batch_moves_twice() -> None:
    assert after(([0, 0], [0.2, 0.2]))[0] < after(([0, 1], [0.2, 0.2]))[0]


def test_neither_the_perfect_nor_the_hopeless_go_to_an_end() -> None:
    np.testing.assert_allclose(after(*[([0, 1], [0.0, 50.0])] * 50)[:2], [0.1, 1.0], atol=1e-3)


def test_what_was_before_stays_as_it_was() -> None:
    before = after(([0], [0.2]))
    kept = before.copy()
    followed(before, np.array([0]), np.array([0.2]))
    np.testing.assert_array_equal(before, kept)
