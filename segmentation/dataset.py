"""Labelled images in a folder.

A data set is a folder with `images/` and `labels/`, files paired by stem; labels are integer masks, 0 is background.
An optional `index.csv` with columns `id` (the stem) and `split` names the splits.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .arrays import Labels, Pixels
from .atomic_write import atomic_write
from .errors import SegmentationError
from .images import decode

#: A data set's own table of its splits.
INDEX = "index.csv"
#: A model's table of what it was trained and validated on, beside its weights; the same columns.
SPLITS = "split.csv"
_LABEL_MOST = int(np.iinfo(np.int32).max)


class InvalidDataset(SegmentationError):
    """The folder is not a data set: what is missing is in the message."""


@dataclass(frozen=True)
class Pair:
    """One image file and its label file."""

    name: str
    image: Path
    labels: Path

    def read(self) -> tuple[Pixels, Labels]:
        """(H, W, C) pixels and (H, W) labels. Raises `ImageError`, and `InvalidDataset` where they don't fit."""
        pixels, labels = decode(self.image.read_bytes(), self.image.name), self.read_labels()
        if pixels.shape[:2] != labels.shape:
            sizes = ["×".join(map(str, shape)) for shape in (labels.shape, pixels.shape[:2])]
            raise InvalidDataset(f"{self.labels}: {sizes[0]} pixels, but {self.image} has {sizes[1]}")
        return pixels, labels

    def read_labels(self) -> Labels:
        """(H, W) int32. Raises `InvalidDataset` where the file is a picture of labels, not labels."""
        found = decode(self.labels.read_bytes(), self.labels.name)
        if found.shape[2] != 1 or found.dtype.kind not in "bui":
            raise InvalidDataset(
                f"{self.labels}: {found.shape[2]} channels of {found.dtype}, not one channel of integers"
            )
        low, high = int(found.min()), int(found.max())
        if low < 0 or high > _LABEL_MOST:
            raise InvalidDataset(f"{self.labels}: labels from {low} to {high}, outside 0 to {_LABEL_MOST}")
        return found[..., 0].astype(np.int32)


def pairs(folder: Path, split: str | None = None, index: Path | None = None) -> list[Pair]:
    """The data set's pairs, sorted by name; with `split`, only that split's, as `index` or folder/index.csv says.

    Raises `InvalidDataset` where folders, the index or every pair is missing.
    """
    images, labels = folder / "images", folder / "labels"
    if not images.is_dir() or not labels.is_dir():
        raise InvalidDataset(f"{folder}: needs the folders images/ and labels/")
    pictures, masks = _by_stem(images), _by_stem(labels)
    names = pictures.keys() & masks.keys()
    if split is not None:
        names &= _members(index or folder / INDEX, split)
    found = [Pair(name, pictures[name], masks[name]) for name in sorted(names)]
    if not found:
        raise InvalidDataset(f"{folder}: no image with labels" + (f" in split {split!r}" if split else ""))
    return found


def _by_stem(folder: Path) -> dict[str, Path]:
    """The folder's files but for hidden ones (a Mac leaves .DS_Store in every folder)."""
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.is_file() and not path.name.startswith("."):
            if path.stem in found:
                raise InvalidDataset(f"{folder}: {found[path.stem].name} and {path.name} have one name, {path.stem!r}")
            found[path.stem] = path
    return found


def divide(folder: Path, index: Path | None = None) -> tuple[list[Pair], list[Pair]]:
    """What to train on and what to validate on: the splits `train` and `val` of the index, where there is one.

    Without, every fifth image is held out. The second may be empty: of fewer than five images, or where the index has
    no `val`. Raises `InvalidDataset` as `pairs` does.
    """
    if index is None and not (folder / INDEX).is_file():
        found = pairs(folder)
        return [p for n, p in enumerate(found) if n % 5 != 4], found[4::5]
    table = index or folder / INDEX
    both = _members(table, "train") & _members(table, "val")
    if both:
        raise InvalidDataset(f"{table}: {', '.join(sorted(both)[:3])} in train and in val: validation would flatter")
    return pairs(folder, "train", index), pairs(folder, "val", index) if _members(table, "val") else []


def write_index(path: Path, **splits: list[Pair]) -> None:
    """Write which pair is in which split, as `pairs` reads it."""
    with atomic_write(path) as part, part.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["id", "split"])
        rows.writerows((pair.name, split) for split, members in splits.items() for pair in members)


def _members(index: Path, split: str) -> set[str]:
    if not index.is_file():
        raise InvalidDataset(f"{index}: no such file (columns id, split) to take split {split!r} from")
    try:
        with index.open(newline="", encoding="utf-8-sig") as file:
            return {row["id"] for row in csv.DictReader(file) if row["split"] == split}
    except KeyError as error:
        raise InvalidDataset(f"{index}: no column {error}; it needs the columns id and split") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise InvalidDataset(f"{index}: not a CSV file in UTF-8: {error}") from error
