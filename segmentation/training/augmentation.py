"""The crops that a network is trained on: centred on objects, turned, flipped, scaled, and changed in intensity."""

from __future__ import annotations

import sys

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ..arrays import Labels
from ..dataset import InvalidDataset, Pair
from ..models.spec import ModelSpec
from ..network.preprocessing import to_input
from ..network.resampling import places, resize, sample
from ..rescaling import resized


def _numbered(labels: Labels) -> Labels:
    """The labels numbered anew without gaps: what walks through 1 to the highest is soon through."""
    values, numbers = np.unique(labels, return_inverse=True)
    return np.asarray(numbers.reshape(labels.shape) + (values[0] > 0), np.int32)


def _worth_learning(labels: Labels, min_pixels: int) -> Labels:
    """The labels without those that the model would never report."""
    keep = np.bincount(labels.ravel()) > min_pixels
    return np.where(keep[labels], labels, 0)


class CropSampler:
    """Endless augmented crops, each centred on some object; every image is read once."""

    def __init__(self, data: list[Pair], spec: ModelSpec, size: int) -> None:
        self.size, self.channels = size, spec.channel_count
        read = [_read(pair, spec) for pair in data]
        self._images, self._labels = [image for image, _ in read], [labels for _, labels in read]
        self._centres = [_centres(labels) for labels in self._labels]
        # An image with ten times the objects is not worth ten times the crops, but it is worth more than one.
        weights = np.array([len(c) for c in self._centres]) ** 0.75
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
        scale = _scale(rng)
        span = self.size / scale
        corner = centres[rng.integers(len(centres))] - span / 2 + rng.uniform(-span / 8, span / 8)
        rows, columns = (self._positions(c, s, n) for c, s, n in zip(corner, scale, labels.shape, strict=True))
        height, width = labels.shape
        crop = sample(image, rows.clip(max=height - 1), columns.clip(max=width - 1))  # its edge repeated beyond it
        truth = _nearest(labels, rows, columns)
        crop, truth = _turn(crop, truth, rng)
        if rng.random() < 0.25:
            crop = _dim(crop, truth, rng)
        return _intensity(crop, rng), np.ascontiguousarray(truth)

    def _positions(self, corner: float, scale: float, length: int) -> NDArray[np.float64]:
        """Where the crop's rows (or columns) lie in the image: inside it, or beyond its end where it is too small."""
        last = length - 1 - (self.size - 1) / scale
        return np.asarray(np.clip(corner, 0, max(last, 0)) + np.arange(self.size) / scale)


def _centres(labels: Labels) -> NDArray[np.float64]:
    """(K, 2) row and column of every object; twice of those that touch another: they are the hard ones."""
    touching = np.zeros(labels.max() + 1, np.bool_)
    for near in (1, 2):
        for one, other in ((labels[near:], labels[:-near]), (labels[:, near:], labels[:, :-near])):
            apart = (one != other) & (one > 0) & (other > 0)
            touching[one[apart]] = touching[other[apart]] = True
    found = [
        [(side.start + side.stop) / 2 for side in box]
        for label, box in enumerate(ndimage.find_objects(labels), 1)
        if box
        for _ in range(2 if touching[label] else 1)
    ]
    return np.array(found).reshape(-1, 2)


def _scale(rng: np.random.Generator) -> NDArray[np.float64]:
    """(2,) of rows and columns: any size, and now and then stretched."""
    size, stretch = np.exp(rng.uniform(np.log(0.6), np.log(1.7))), 1.0
    if rng.random() < 0.3:
        stretch = np.exp(rng.uniform(-0.35, 0.35))
    return np.array([size * stretch, size / stretch])


def _read(pair: Pair, spec: ModelSpec) -> tuple[NDArray[np.float32], Labels]:
    """The pair as the network sees it: (C, H, W) input and (H, W) labels, at the model's scale."""
    pixels, labels = pair.read()
    image = to_input(pixels, spec.channels, spec.normalisation)
    labels = _worth_learning(_numbered(labels), spec.min_pixels)
    if spec.scale == 1:
        return image, labels
    size = resized((labels.shape[0], labels.shape[1]), spec.scale, sys.maxsize)
    rows, columns = (places(n, m) for n, m in zip(size, labels.shape, strict=True))
    return resize(image, size), _nearest(labels, rows, columns)


def _nearest(labels: Labels, rows: NDArray[np.float64], columns: NDArray[np.float64]) -> Labels:
    """(H, W) sampled at the grid rows × columns, nothing beyond the image. (Mirrored, an object would have two
    bodies and its centre between them.)
    """
    r, c = np.rint(rows).astype(int), np.rint(columns).astype(int)
    height, width = labels.shape
    found = labels[r.clip(max=height - 1)][:, c.clip(max=width - 1)]
    return np.where((r < height)[:, None] & (c < width), found, 0)


def _turn(crop: NDArray[np.float32], truth: Labels, rng: np.random.Generator) -> tuple[NDArray[np.float32], Labels]:
    """A random one of the square's eight symmetries."""
    turns = int(rng.integers(4))
    crop, truth = np.rot90(crop, turns, (1, 2)), np.rot90(truth, turns)
    return (crop[..., ::-1], truth[..., ::-1]) if rng.random() < 0.5 else (crop, truth)


def _dim(crop: NDArray[np.float32], truth: Labels, rng: np.random.Generator) -> NDArray[np.float32]:
    """Some of the objects darker, so that dim ones lie beside bright ones."""
    values, place = np.unique(truth, return_inverse=True)
    chosen = (rng.random(len(values)) < 0.4) & (values > 0)
    gains = np.where(chosen, np.exp(rng.uniform(-1.2, 0, len(values))), 1).astype(np.float32)
    return np.asarray(crop * ndimage.gaussian_filter(gains[place].reshape(truth.shape), 1), np.float32)


def _intensity(crop: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Random gamma, contrast, brightness, uneven light, blur and noise, each on a part of the crops."""
    if rng.random() < 0.5:
        crop = np.sign(crop) * np.abs(crop) ** np.exp(rng.uniform(-0.5, 0.5))
    if rng.random() < 0.7:
        crop = crop * np.exp(rng.uniform(-1.0, 0.4)) + rng.uniform(-0.1, 0.1)
    if rng.random() < 0.3:  # uneven light
        ramp = np.linspace(-1, 1, crop.shape[1], dtype=np.float32)
        down, across = rng.uniform(-0.5, 0.5, 2)
        crop = crop * np.exp(down * ramp[:, None] + across * ramp)
    if rng.random() < 0.2:
        crop = ndimage.gaussian_filter(crop, (0, *[rng.uniform(0.5, 1.5)] * 2))
    if rng.random() < 0.3:
        crop = crop + rng.normal(0, rng.uniform(0.01, 0.08), crop.shape).astype(np.float32)
    return np.ascontiguousarray(crop, np.float32)
