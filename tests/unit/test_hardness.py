"""Images that a training gets wrong come more often, those that it has learnt less often, and none is forgotten."""

from __future__ import annotations

import io

import numpy as np
import torch

from segmentation.training.hardness import Hardness


def followed(*steps: tuple[list[int], list[float]], images: int = 4) -> Hardness:
    hardness = Hardness()
    hardness.begin(images)
    for numbers, terms in steps:
        hardness.follow(np.array(numbers), np.array(terms))
    return hardness


def test_at_first_all_images_are_as_hard() -> None:
    assert set(followed().now) == {1.0}


def test_what_is_learnt_gets_easier_and_what_is_not_stays_as_hard() -> None:
    hardness = followed(*[([0, 1], [0.2, 0.9])] * 30)
    np.testing.assert_allclose(hardness.now, [0.2, 0.9, 1, 1], atol=1e-3)


def test_an_image_twice_in_a_batch_moves_twice() -> None:
    assert followed(([0, 0], [0.2, 0.2])).now[0] < followed(([0, 1], [0.2, 0.2])).now[0]


def test_neither_the_perfect_nor_the_hopeless_go_to_an_end() -> None:
    hardness = followed(*[([0, 1], [0.0, 50.0])] * 50)
    np.testing.assert_allclose(hardness.now[:2], [0.1, 1.0], atol=1e-3)


def test_what_was_before_a_step_stays_as_it_was() -> None:
    hardness = followed(([0], [0.2]))
    before = hardness.now.copy()
    hardness.follow(np.array([0]), np.array([0.2]))
    np.testing.assert_array_equal(hardness.before, before)
    assert hardness.now[0] < before[0]


def test_a_checkpoint_brings_both_back() -> None:
    hardness, file = followed(([0], [0.2]), ([1], [0.3])), io.BytesIO()
    torch.save(hardness.state(), file)
    file.seek(0)
    other = Hardness()
    other.restore(torch.load(file, weights_only=True))
    other.begin(4)
    np.testing.assert_array_equal(other.now, hardness.now)
    np.testing.assert_array_equal(other.before, hardness.before)
