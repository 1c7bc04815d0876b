"""Data sets of labelled images.

A data set is a folder with `images/` and `labels/`, whose files are paired by stem. Labels are integer masks, 0 is
background. An optional `index.csv` with the columns `id` (the stem) and `split` assigns images to splits.
"""

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .arrays import Labels, Pixels
from .atomic_write import atomic_write
from .errors import SegmentationError
from .images import decode

#: A data set's table of its splits.
INDEX = "index.csv"
#: A model's table of the images that it was trained and validated on, in its folder; same columns as `INDEX`.
SPLITS = "split.csv"
_MAX_LABEL = int(np.iinfo(np.int32).max)


class InvalidDataset(SegmentationError):
    """The folder is not a valid data set; the message says what is wrong."""


@dataclass(frozen=True)
class Pair:
    """One image file and its label file."""

    name: str
    image: Path
    labels: Path

    def read(self) -> tuple[Pixels, Labels]:
        """(H, W, C) pixels and (H, W) labels. Raises `ImageError`, or `InvalidDataset` if they differ in size."""
        pixels, labels = decode(self.image.read_bytes(), self.image.name), self.read_labels()
        if pixels.shape[:2] != labels.shape:
            sizes = ["×".join(map(str, shape)) for shape in (labels.shape, pixels.shape[:2])]
            raise InvalidDataset(f"{self.labels}: {sizes[0]} pixels, but {self.image} has {sizes[1]}")
        return pixels, labels

    def read_labels(self) -> Labels:
        """(H, W) labels. Raises `ImageError`, or `InvalidDataset` if the file is not one channel of integers."""
        pixels = decode(self.labels.read_bytes(), self.labels.name)
        if pixels.shape[2] != 1 or pixels.dtype.kind not in "bui":
            raise InvalidDataset(
                f"{self.labels}: {pixels.shape[2]} channels of {pixels.dtype}, not one channel of integers"
            )
        low, high = int(pixels.min()), int(pixels.max())
        if low < 0 or high > _MAX_LABEL:
            raise InvalidDataset(f"{self.labels}: labels from {low} to {high}, outside 0 to {_MAX_LABEL}")
        return pixels[..., 0].astype(np.int32)


def pairs(folder: Path, split: str | None = None, index: Path | None = None) -> list[Pair]:
    """The pairs of a data set, sorted by name; with `split`, only those of that split in `index` or folder/index.csv.

    Raises `InvalidDataset` if a folder or the index is missing, or there is no pair.
    """
    if not (folder / "images").is_dir() or not (folder / "labels").is_dir():
        raise InvalidDataset(f"{folder}: needs the folders images/ and labels/")
    images, labels = _by_stem(folder / "images"), _by_stem(folder / "labels")
    names = images.keys() & labels.keys()
    if split is not None:
        names &= _members(index or folder / INDEX, split)
    if not names:
        raise InvalidDataset(f"{folder}: no image with labels" + (f" in split {split!r}" if split else ""))
    return [Pair(name, images[name], labels[name]) for name in sorted(names)]


def _by_stem(folder: Path) -> dict[str, Path]:
    """The folder's files, except hidden ones: macOS leaves .DS_Store in every folder."""
    files: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.is_file() and not path.name.startswith("."):
            if path.stem in files:
                raise InvalidDataset(f"{folder}: {files[path.stem].name} and {path.name} have one name, {path.stem!r}")
            files[path.stem] = path
    return files


def train_val_split(folder: Path, index: Path | None = None) -> tuple[list[Pair], list[Pair]]:
    """Pairs for training and for validation: the splits `train` and `val` of the index, if there is one.

    Without an index, every fifth image is held out. The second list is empty if the data set has fewer than five images
    or the index has no `val`. Raises `InvalidDataset` as `pairs` does, and if an image is in both splits.
    """
    if index is None and not (folder / INDEX).is_file():
        members = pairs(folder)
        return [pair for n, pair in enumerate(members) if n % 5 != 4], members[4::5]
    table = index or folder / INDEX
    shared = _members(table, "train") & _members(table, "val")
    if shared:
        raise InvalidDataset(f"{table}: {', '.join(sorted(shared)[:3])} in train and in val: validation would flatter")
    return pairs(folder, "train", index), pairs(folder, "val", index) if _members(table, "val") else []


def write_index(path: Path, **splits: list[Pair]) -> None:
    """Write an index file with the pairs of each split, in the format that `pairs` reads."""
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
