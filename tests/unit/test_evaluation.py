"""Scores of methods on labelled images: what is averaged, what comes first, what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from maskq.cli import report
from maskq.segmentation.dataset import InvalidDataset, pairs
from maskq.segmentation.evaluation.scores import at, entry, evaluate_with, picture_worst

NOTHING = np.zeros((40, 60), np.int32)


def squares(*corners: tuple[int, int], side: int = 8) -> np.ndarray:
    """(40, 60) labels with a square at each corner."""
    labels = NOTHING.copy()
    for label, (row, column) in enumerate(corners, 1):
        labels[row : row + side, column : column + side] = label
    return labels


#: One object, found; four, of which one is found, and one found that is none; none and none found.
TRUTHS = {"easy": squares((2, 2)), "hard": squares((2, 2), (2, 20), (20, 2), (20, 20)), "void": NOTHING}
FOUND = {"easy": squares((2, 2)), "hard": squares((2, 2), (25, 45)), "void": NOTHING}


@pytest.fixture
def data(tmp_path):
    """A data set whose images have their number as the value of every pixel."""
    for folder in ("images", "labels"):
        (tmp_path / folder).mkdir()
    for number, (name, labels) in enumerate(TRUTHS.items()):
        Image.fromarray(np.full(labels.shape, number, np.uint8)).save(tmp_path / "images" / f"{name}.png")
        Image.fromarray(labels.astype(np.uint16)).save(tmp_path / "labels" / f"{name}.png")
    return tmp_path


def known(pixels):
    return FOUND[list(TRUTHS)[int(pixels[0, 0, 0])]]


@pytest.fixture
def result(data):
    return evaluate_with({"known": known}, pairs(data))["known"]


def test_pooled_and_per_image_are_what_one_counts_by_hand(result):
    told = json.loads(json.dumps(result.as_dict()))
    # 2 of 5 objects found, 1 false: 2 / 6. By image 1, 1 / 5 and, where nothing is and nothing was found, 1.
    assert told["ap50"] == {"pooled": pytest.approx(1 / 3), "per_image": pytest.approx((1 + 0.2 + 1) / 3)}
    assert told["ap75"] == told["ap50"] == pytest.approx(told["map"])
    assert told["precision"] == {"pooled": pytest.approx(2 / 3), "per_image": pytest.approx(2.5 / 3)}
    assert told["recall"] == {"pooled": pytest.approx(0.4), "per_image": pytest.approx(2.25 / 3)}
    assert told["f1"]["pooled"] == told["pq"]["pooled"] == pytest.approx(0.5)
    assert told["count_error"] == pytest.approx(2 / 3)
    assert told["summary"]["images"] == 3 and len(told["summary"]["pooled"]) == 10


def test_every_image_has_its_row_and_the_worst_is_first(result):
    told = result.as_dict()["images"]
    assert list(told) == result.worst == ["hard", "easy", "void"]
    assert (
        told["hard"]
        == entry("hard", result.images["hard"])
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


def test_of_equal_ap_at_half_the_worse_outlines_come_first(data):
    shifted = [TRUTHS["easy"], np.roll(TRUTHS["hard"], 1, axis=1), np.roll(TRUTHS["void"], 2, axis=1)]
    result = evaluate_with({"m": lambda pixels: shifted[int(pixels[0, 0, 0])]}, pairs(data))["m"]
    assert result.worst == ["easy", "hard", "void"]  # by name: an IoU of 56 / 72 is matched at .75 too
    shifted[1] = np.roll(TRUTHS["hard"], 2, axis=1)  # 48 / 80: at .5 alone
    result = evaluate_with({"m": lambda pixels: shifted[int(pixels[0, 0, 0])]}, pairs(data))["m"]
    assert result.worst == ["hard", "easy", "void"]
    assert (result.as_dict()["ap50"]["pooled"], result.as_dict()["ap75"]["pooled"]) == (1, pytest.approx(1 / 9))


def test_one_image_is_read_at_a_time(data):
    order = []

    def watched():
        for pair in pairs(data):
            order.append(pair.name)
            yield pair
            order.append("done")

    evaluate_with({"known": lambda p: order.append("segmented") or known(p)}, watched())
    assert order == ["easy", "segmented", "done", "hard", "segmented", "done", "void", "segmented", "done"]


def test_labels_that_do_not_fit_their_image_are_named(data):
    Image.fromarray(np.zeros((39, 60), np.uint16)).save(data / "labels" / "hard.png")
    with pytest.raises(InvalidDataset, match=r"labels/hard\.png: 39×60 pixels, but .*images/hard\.png has 40×60"):
        evaluate_with({"known": known}, pairs(data))


def test_the_worst_images_are_pictured_by_rank_and_earlier_ones_are_gone(data, result, tmp_path):
    folder = tmp_path / "new" / "pictures"
    first = picture_worst(result, known, pairs(data), folder, 3)
    assert [p.name for p in first] == ["01-hard-ap50-0.20.png", "02-easy-ap50-1.00.png", "03-void-ap50-1.00.png"]
    (folder / "mine.png").write_bytes(b"kept")
    picture_worst(result, known, pairs(data), folder, 1)
    assert sorted(p.name for p in folder.iterdir()) == ["01-hard-ap50-0.20.png", "mine.png"]
    with Image.open(first[0]) as picture:
        assert picture.width > 3 * picture.height / 2


def test_rates_and_matches_are_found_by_their_threshold(result):
    assert at(result.summary.pooled, 0.75).threshold == at(result.images["hard"].matches, 0.75).threshold == 0.75
    with pytest.raises(ValueError, match=r"nothing was scored at an IoU of 0\.42"):
        at(result.summary.mean, 0.42)


def test_names_are_shown_as_they_are(result, capsys):
    names = ["img[a]", "[/b]", ":cat: [red]"]
    report.show({"known": replace(result, images=dict(zip(names, result.images.values(), strict=True)))})
    report.show_stored(Path("models [/b]"))
    report.stderr.print("pictures: [/b] :cat:")
    shown = capsys.readouterr()
    assert all(name in shown.out for name in [*names, "models [/b]/model.toml"])
    assert shown.err == "pictures: [/b] :cat:\n"
