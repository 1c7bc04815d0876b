"""The picture of errors: matched, missed and false objects, for images of any kind."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from maskq.segmentation.arrays import Labels
from maskq.segmentation.evaluation.comparison import FALSE, MATCHED, MISSED, compare, matched
from maskq.segmentation.evaluation.metrics import score
from maskq.segmentation.models.registry import SHIPPED

BLACK = np.zeros((300, 200, 1), np.uint8)


def squares(**places: tuple[int, int]) -> Labels:
    """(300, 200) labels: `id7=(row, column)` draws label 7 there, 40 pixels wide."""
    labels = np.zeros((300, 200), np.int32)
    for name, (row, column) in places.items():
        labels[row : row + 40, column : column + 40] = int(name[2:])
    return labels


def colours(picture: NDArray[np.uint8]) -> list[set[str]]:
    """The names of the outline colours in each panel, below the two lines of text."""
    height, width = picture.shape[:2]
    panels = np.split(picture[60:height], [width // 3, 2 * width // 3], axis=1)
    names = {MATCHED: "matched", MISSED: "missed", FALSE: "false"}
    return [{names[c] for c in names if (panel == c).all(axis=2).any()} for panel in panels]


def test_matched_missed_and_false_objects_have_different_colours() -> None:
    truth, found = squares(id3=(10, 10), id9=(100, 100)), squares(id1=(12, 10), id2=(200, 20))
    assert colours(compare(BLACK, truth, found, "x")) == [set(), {"matched", "missed"}, {"matched", "false"}]


def test_a_perfect_result_has_no_error_colour() -> None:
    truth = squares(id3=(10, 10), id9=(100, 100))
    assert colours(compare(BLACK, truth, truth, "x")) == [set(), {"matched"}, {"matched"}]


def test_an_object_predicted_twice_is_matched_once() -> None:
    truth, found = squares(id5=(10, 10)), squares(id5=(10, 10))
    found[10:20, 10:50] = 6  # a quarter of it
    true_ids, found_ids = matched(truth, found, 0.5)
    assert true_ids.tolist() == [5] and found_ids.tolist() == [5]
    assert matched(truth, found, 0.8)[0].tolist() == []


def test_two_exact_halves_are_one_match() -> None:
    found = squares(id1=(10, 10))
    found[30:50, 10:50] = 2
    assert [ids.tolist() for ids in matched(squares(id5=(10, 10)), found, 0.5)] == [[5], [1]]


def test_the_picture_has_the_matches_that_the_score_counts() -> None:
    # The pair 2, 5 has the highest IoU, but leaves 1 without a match; 1, 5 and 2, 3 are two matches.
    truth, found = np.array([[1, 1, 2, 2, 2, 2]]), np.array([[0, 5, 5, 5, 5, 3]])
    for threshold in (0.1, 0.2, 0.5):
        (counted,) = score(truth, found, (threshold,)).matches
        assert [len(ids) for ids in matched(truth, found, threshold)] == [counted.tp, counted.tp]


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [((5, 7, 1), "u2"), ((700, 900, 3), "f4"), ((300, 300, 7), "f8"), ((3000, 40, 4), "u1"), ((33, 2100, 2), "?")],
)
def test_the_picture_of_any_image_has_a_bounded_size(shape: tuple[int, int, int], dtype: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 2, shape).astype(dtype)
    truth = np.zeros(shape[:2], np.int32)
    truth[1:4, 1:5] = 70_000
    picture = compare(pixels, truth, np.zeros_like(truth), "a long title that says which image this is " * 2)
    assert picture.dtype == np.uint8 and picture.shape[2] == 3
    assert picture.shape[0] <= 1024 + 48 and picture.shape[1] <= 3 * 1024 + 8


def test_the_legend_shows_the_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    monkeypatch.setattr(
        "maskq.segmentation.evaluation.comparison._with_heading",
        lambda panels, title, legend: calls.append((title, legend)),
    )
    compare(BLACK, squares(id3=(10, 10), id9=(100, 100)), squares(id1=(12, 10), id2=(200, 20), id4=(200, 100)), "x")
    assert calls[0][0].startswith("x") and [text for _, text in calls[0][1]] == ["matched 1", "missed 1", "false 2"]


@pytest.mark.parametrize("model", ["nuclei", "phase-contrast"])
def test_a_shipped_picture_has_the_outline_colours_in_its_legend_and_panels(model: str) -> None:
    with Image.open(SHIPPED / model / "failures.png") as image:
        picture = np.asarray(image.convert("RGB"))
    assert all((picture[24:48] == colour).all(axis=2).any() for colour in (MATCHED, MISSED, FALSE))
    assert colours(picture) == [set(), {"matched", "missed"}, {"matched", "false"}]
