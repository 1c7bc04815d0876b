"""YOLO's outlines enclose the objects' pixels and no others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import yaml
from hypothesis import given, settings
from numpy.typing import NDArray

from maskq.producer.formats.folder import ResultFolder
from tests.results import result_of

from .images import LABELS, example


def drawn(text: str, shape: tuple[int, ...]) -> NDArray[np.int32]:
    """The labels that are enclosed by the lines' outlines, by the even-odd rule; numbered by line."""
    labels = np.zeros(shape, np.int32)
    height, width = shape
    for number, line in enumerate(text.splitlines(), start=1):
        kind, *shares = line.split(" ")
        assert kind == "0" and len(shares) >= 6 and all(0 <= float(share) <= 1 for share in shares)
        exact = np.array(shares, np.float64).reshape(-1, 2) * (width, height)
        corners = np.rint(exact).astype(int)
        assert np.abs(corners - exact).max() < 1e-6
        mask = np.zeros(shape, bool)
        for (x, y), (next_x, next_y) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
            if y != next_y:  # a cut crosses rows at any x, there and back
                rows = np.arange(min(y, next_y), max(y, next_y))
                crossing = x + (rows + 0.5 - y) / (next_y - y) * (next_x - x)
                mask[rows] ^= np.arange(width) + 0.5 > crossing[:, None]
        labels[mask] = number
    return labels


@given(LABELS)
@settings(max_examples=50, deadline=None)
def test_any_labels_are_given_again(labels: NDArray[np.int32]) -> None:
    numbered = np.searchsorted(np.unique(np.append(labels, 0)), labels)
    assert np.array_equal(drawn(result_of(labels).to("yolo").decode(), labels.shape), numbered)


def test_a_run_gives_a_data_set(tmp_path: Path) -> None:
    with ResultFolder(tmp_path, "yolo") as files:
        for name in ("a", "b"):
            paths, _ = files.write_possible(result_of(example()), name=name)
            assert paths == {"yolo": tmp_path / "labels" / f"{name}.txt"}
    assert yaml.safe_load((tmp_path / "data.yaml").read_text()) == {
        "path": ".",
        "train": "images",
        "val": "images",
        "names": {0: "nuclei"},
    }
    assert np.array_equal(drawn((tmp_path / "labels" / "b.txt").read_text(), (20, 30)), example())
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a.txt", "b.txt", "data.yaml", "labels"]
