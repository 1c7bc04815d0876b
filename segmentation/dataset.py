"""Labelled images in a folder, and the crops that a network is trained on.

A data set is a folder with `images/` and `labels/`, files paired by stem; labels are integer masks, 0 is background.
An optional `index.csv` with columns `id` (the stem) and `split` names the splits.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from .errors import SegmentationError
from .images import decode
from .inputs import Channels, Normalisation, to_input

Labels = NDArray[np.int32]
_LABEL_MOST = int(np.iinfo(np.int32).max)


class InvalidDataset(SegmentationError):
    """The folder is not a data set: what is missing is in the message."""


@dataclass(frozen=True)
class Pair:
    """One image file and its label file."""

    name: str
    image: Path
    labels: Path

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


def pairs(folder: Path, split: str | None = None) -> list[Pair]:
    """The data set's pairs, sorted by name; with `split`, only that split's.

    Raises `InvalidDataset` where folders, the index or every pair is missing.
    """
    images, labels = folder / "images", folder / "labels"
    if not images.is_dir() or not labels.is_dir():
        raise InvalidDataset(f"{folder}: needs the folders images/ and labels/")
    pictures, masks = _by_stem(images), _by_stem(labels)
    names = pictures.keys() & masks.keys()
    if split is not None:
        names &= _members(folder, split)
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


def _members(folder: Path, split: str) -> set[str]:
    index = folder / "index.csv"
    if not index.is_file():
        raise InvalidDataset(f"{folder}: no index.csv (columns id, split) to take split {split!r} from")
    try:
        with index.open(newline="", encoding="utf-8-sig") as file:
            return {row["id"] for row in csv.DictReader(file) if row["split"] == split}
    except KeyError as error:
        raise InvalidDataset(f"{index}: no column {error}; it needs the columns id and split") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise InvalidDataset(f"{index}: not a CSV file in UTF-8: {error}") from error


def _numbered(labels: Labels) -> Labels:
    """The labels as they are, or numbered anew where some are far beyond the number of pixels: what walks through
    1 to the highest would walk for ever.
    """
    if labels.max() <= labels.size:
        return labels
    values, numbers = np.unique(labels, return_inverse=True)
    return np.asarray(numbers.reshape(labels.shape) + (values[0] > 0), np.int32)


class Crops:
    """Endless augmented crops, each centred on some object; every image is read once."""

    def __init__(self, data: list[Pair], channels: Channels, normalisation: Normalisation, size: int) -> None:
        self._size = size
        self._images = [to_input(decode(p.image.read_bytes(), p.image.name), channels, normalisation) for p in data]
        self._labels = [_numbered(p.read_labels()) for p in data]
        for pair, image, labels in zip(data, self._images, self._labels, strict=True):
            if image.shape[1:] != labels.shape:
                raise InvalidDataset(f"{pair.image} has {image.shape[1:]} pixels, but {pair.labels} {labels.shape}")
        self._centres = [
            np.array([[(s.start + s.stop) / 2 for s in box] for box in ndimage.find_objects(labels) if box])
            for labels in self._labels
        ]
        # An image with ten times the objects is not worth ten times the crops, but it is worth more than one.
        weights = np.sqrt([len(c) for c in self._centres])
        if weights.sum() == 0:
            raise InvalidDataset("no label image has an object")
        self._chances = weights / weights.sum()

    def batch(self, count: int, rng: np.random.Generator) -> tuple[NDArray[np.float32], Labels]:
        """(count, C, size, size) inputs and (count, size, size) labels."""
        crops = [self._crop(rng) for _ in range(count)]
        return np.stack([c for c, _ in crops]), np.stack([t for _, t in crops])

    def _crop(self, rng: np.random.Generator) -> tuple[NDArray[np.float32], Labels]:
        number = rng.choice(len(self._images), p=self._chances)
        image, labels, centres = self._images[number], self._labels[number], self._centres[number]
        scale = np.exp(rng.uniform(np.log(0.7), np.log(1.5)))
        span = self._size / scale
        corner = centres[rng.integers(len(centres))] - span / 2 + rng.uniform(-span / 8, span / 8, 2)
        rows, columns = (self._positions(c, scale, n) for c, n in zip(corner, labels.shape, strict=True))
        crop = _bilinear(image, rows, columns)
        truth = _nearest(labels, rows, columns)
        crop, truth = _turn(crop, truth, rng)
        return _intensity(crop, rng), np.ascontiguousarray(truth)

    def _positions(self, corner: float, scale: float, length: int) -> NDArray[np.float64]:
        """Where the crop's rows (or columns) lie in the image: inside it, or beyond its end where it is too small."""
        last = length - 1 - (self._size - 1) / scale
        return np.asarray(np.clip(corner, 0, max(last, 0)) + np.arange(self._size) / scale)


def _nearest(labels: Labels, rows: NDArray[np.float64], columns: NDArray[np.float64]) -> Labels:
    """(H, W) sampled at the grid rows × columns, nothing beyond the image. (Mirrored, an object would have two
    bodies and its centre between them.)
    """
    r, c = np.rint(rows).astype(int), np.rint(columns).astype(int)
    height, width = labels.shape
    found = labels[r.clip(max=height - 1)][:, c.clip(max=width - 1)]
    return np.where((r < height)[:, None] & (c < width), found, 0)


def _bilinear(
    image: NDArray[np.float32], rows: NDArray[np.float64], columns: NDArray[np.float64]
) -> NDArray[np.float32]:
    """(C, H, W) sampled at the grid rows × columns, its edge repeated beyond it."""
    for axis, at in ((1, rows), (2, columns)):
        at = at.clip(max=image.shape[axis] - 1)
        low = np.floor(at).astype(int)
        high = np.minimum(low + 1, image.shape[axis] - 1)
        part = (at - low).astype(np.float32).reshape((-1, 1) if axis == 1 else (1, -1))
        image = np.asarray(image.take(low, axis) * (1 - part) + image.take(high, axis) * part, np.float32)
    return image


def _turn(crop: NDArray[np.float32], truth: Labels, rng: np.random.Generator) -> tuple[NDArray[np.float32], Labels]:
    """A random one of the square's eight symmetries."""
    turns = int(rng.integers(4))
    crop, truth = np.rot90(crop, turns, (1, 2)), np.rot90(truth, turns)
    return (crop[..., ::-1], truth[..., ::-1]) if rng.random() < 0.5 else (crop, truth)


def _intensity(crop: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Random gamma, contrast, brightness, blur and noise, each on a part of the crops."""
    if rng.random() < 0.5:
        crop = np.sign(crop) * np.abs(crop) ** np.exp(rng.uniform(-0.5, 0.5))
    if rng.random() < 0.7:
        crop = crop * np.exp(rng.uniform(-0.6, 0.4)) + rng.uniform(-0.1, 0.1)
    if rng.random() < 0.2:
        crop = ndimage.gaussian_filter(crop, (0, *[rng.uniform(0.5, 1.5)] * 2))
    if rng.random() < 0.3:
        crop = crop + rng.normal(0, rng.uniform(0.01, 0.08), crop.shape).astype(np.float32)
    return np.ascontiguousarray(crop, np.float32)
