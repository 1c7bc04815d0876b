"""Scores of methods on labelled images: averages, order, errors."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from maskq.cli import report
from maskq.segmentation.arrays import Labels, Pixels
from maskq.segmentation.dataset import InvalidDataset, Pair, pairs
from maskq.segmentation.evaluation.scores import (
    Evaluation,
    at_threshold,
    evaluate_with,
    image_row,
    write_worst_pictures,
)

NOTHING = np.zeros((40, 60), np.int32)


def squares(*corners: tuple[int, int], side: int = 8) -> Labels:
    """(40, 60) labels with a square at each corner."""
    labels = NOTHING.copy()
    for label, (row, column) in enumerate(corners, 1):
        labels[row : row + side, column : column + side] = label
    return labels


#: easy: one object, found. hard: four objects, one of them found, and one false one. void: none and none found.
TRUTHS = {"easy": squares((2, 2)), "hard": squares((2, 2), (2, 20), (20, 2), (20, 20)), "void": NOTHING}
FOUND = {"easy": squares((2, 2)), "hard": squares((2, 2), (25, 45)), "void": NOTHING}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data set; every pixel of an image is the image's number."""
    for folder in ("images", "labels"):
        (tmp_path / folder).mkdir()
    for number, (name, labels) in enumerate(TRUTHS.items()):
        Image.fromarray(np.full(labels.shape, number, np.uint8)).save(tmp_path / "images" / f"{name}.png")
        Image.fromarray(labels.astype(np.uint16)).save(tmp_path / "labels" / f"{name}.png")
    return tmp_path


def known(pixels: Pixels) -> Labels:
    """A method that looks its labels up in `FOUND`."""
    return FOUND[list(TRUTHS)[int(pixels[0, 0, 0])]]


@pytest.fixture
def result(data: Path) -> Evaluation:
    return evaluate_with({"known": known}, pairs(data))["known"]


def test_pooled_and_per_image_rates_match_a_count_by_hand(result: Evaluation) -> None:
    output = json.loads(json.dumps(result.as_dict()))
    # Pooled: 2 of 5 objects found, 1 false: 2 / 6. By image: 1, 1 / 5, and 1 for no objects and none found.
    assert output["ap50"] == {"pooled": pytest.approx(1 / 3), "per_image": pytest.approx((1 + 0.2 + 1) / 3)}
    assert output["ap75"] == output["ap50"] == pytest.approx(output["map"])
    assert output["precision"] == {"pooled": pytest.approx(2 / 3), "per_image": pytest.approx(2.5 / 3)}
    assert output["recall"] == {"pooled": pytest.approx(0.4), "per_image": pytest.approx(2.25 / 3)}
    assert output["f1"]["pooled"] == output["pq"]["pooled"] == pytest.approx(0.5)
    assert output["count_error"] == pytest.approx(2 / 3)
    assert output["summary"]["images"] == 3 and len(output["summary"]["pooled"]) == 10


def test_every_image_has_a_row_and_the_worst_is_first(result: Evaluation) -> None:
    output = result.as_dict()["images"]
    assert list(output) == result.worst == ["hard", "easy", "void"]
    assert (
        output["hard"]
        == image_row("hard", result.images["hard"])
        == {
            "name": "hard",
            "ap50": pytest.approx(0.2),
            "ap75": pytest.approx(0.2),
            "precision": pytest.approx(0.5),
            "recall": pytest.approx(0.25),
            "f1": pytest.approx(1 / 3),
            "pq": pytest.approx(1 / 3),
            "truths": 4,
            "found": 2,
            "count_error": -2,
        }
    )


def test_images_of_equal_ap50_are_ordered_by_ap75(data: Path) -> None:
    shifted = [TRUTHS["easy"], np.roll(TRUTHS["hard"], 1, axis=1), np.roll(TRUTHS["void"], 2, axis=1)]
    result = evaluate_with({"m": lambda pixels: shifted[int(pixels[0, 0, 0])]}, pairs(data))["m"]
    assert result.worst == ["easy", "hard", "void"]  # by name: an IoU of 56 / 72 is matched at .75 too
    shifted[1] = np.roll(TRUTHS["hard"], 2, axis=1)  # 48 / 80: at .5 alone
    result = evaluate_with({"m": lambda pixels: shifted[int(pixels[0, 0, 0])]}, pairs(data))["m"]
    assert result.worst == ["hard", "easy", "void"]
    assert (result.as_dict()["ap50"]["pooled"], result.as_dict()["ap75"]["pooled"]) == (1, pytest.approx(1 / 9))


def test_images_are_read_one_at_a_time(data: Path) -> None:
    order = []

    def recorded() -> Iterator[Pair]:
        for pair in pairs(data):
            order.append(pair.name)
            yield pair
            order.append("done")

    def segment(pixels: Pixels) -> Labels:
        order.append("segmented")
        return known(pixels)

    evaluate_with({"known": segment}, recorded())
    assert order == ["easy", "segmented", "done", "hard", "segmented", "done", "void", "segmented", "done"]


def test_the_error_for_labels_of_another_size_names_the_file(data: Path) -> None:
    Image.fromarray(np.zeros((39, 60), np.uint16)).save(data / "labels" / "hard.png")
    with pytest.raises(InvalidDataset, match=r"labels/hard\.png: 39×60 pixels, but .*images/hard\.png has 40×60"):
        evaluate_with({"known": known}, pairs(data))


def test_pictures_of_the_worst_images_are_named_by_rank_and_replace_earlier_ones(
    data: Path, result: Evaluation, tmp_path: Path
) -> None:
    folder = tmp_path / "new" / "pictures"
    first = write_worst_pictures(result, known, pairs(data), folder, 3)
    assert [p.name for p in first] == ["01-hard-ap50-0.20.png", "02-easy-ap50-1.00.png", "03-void-ap50-1.00.png"]
    (folder / "mine.png").write_bytes(b"kept")
    write_worst_pictures(result, known, pairs(data), folder, 1)
    assert sorted(p.name for p in folder.iterdir()) == ["01-hard-ap50-0.20.png", "mine.png"]
    with Image.open(first[0]) as picture:
        assert picture.width > 3 * picture.height / 2


def test_rates_and_matches_are_found_by_their_threshold(result: Evaluation) -> None:
    assert (
        at_threshold(result.summary.pooled, 0.75).threshold
        == at_threshold(result.images["hard"].matches, 0.75).threshold
        == 0.75
    )
    with pytest.raises(ValueError, match=r"nothing was scored at an IoU of 0\.42"):
        at_threshold(result.summary.mean, 0.42)


def test_names_are_printed_without_markup(result: Evaluation, capsys: pytest.CaptureFixture[str]) -> None:
    names = ["img[a]", "[/b]", ":cat: [red]"]
    report.show({"known": replace(result, images=dict(zip(names, result.images.values(), strict=True)))})
    report.show_stored(Path("models [/b]"))
    report.stderr.print("pictures: [/b] :cat:")
    shown = capsys.readouterr()
    assert all(name in shown.out for name in [*names, "models [/b]/model.toml"])
    assert shown.err == "pictures: [/b] :cat:\n"
