"""A job's work, by which clients take turns, as far as its submission tells."""

from __future__ import annotations

import pytest

from maskq.producer.schema import Options, Stage
from maskq.producer.state.ledger.work import LARGE, VIEWS, work_of
from maskq.segmentation.network.inference import Input
from maskq.segmentation.network.tta import with_tta


@pytest.mark.parametrize(
    ("shape", "size", "options", "work"),
    [
        ("100x200", 47, Options(), 20_000),
        ("100x200", 47, Options(tta=True), 160_000),
        ("100x200", 1_000_000, Options(), 20_000),
        ("100x200", 1_000_000, Options(planes="all"), 500_000),  # a stack of 25 planes
        (None, 1_000_000, Options(), 500_000),
        ("100x200", 47, Options(diameter=5.0), 16 * 20_000),  # the image is enlarged
        ("100x200", 47, Options(diameter=80.0), 20_000),
        (f"{10**12}x{10**12}", 47, Options(tta=True), 8 * 10**9),  # a header may say anything
    ],
)
def test_work_is_pixels_times_views(shape: str | None, size: int, options: Options, work: int) -> None:
    assert work_of(shape, size, options) == work


def test_the_views_are_those_of_the_network() -> None:
    import numpy as np

    runs = []

    def run(item: Input) -> np.ndarray:
        runs.append(item)
        return np.zeros((6, *item.planes.shape[1:]), np.float32)

    with_tta(run)(Input(np.zeros((3, 8, 8), np.float32), (slice(0, 8), slice(0, 8)), compact=False))
    assert len(runs) == VIEWS


def test_the_issues_picture_is_large_and_a_tile_of_a_dish_is_not() -> None:
    assert work_of("7000x7000", 47_630, Options(tta=True)) > max(LARGE.values())
    assert work_of("2048x2048", 4_000_000, Options()) < LARGE[Stage.EMBED]
