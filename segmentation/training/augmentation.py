"""Training crops: centred on objects, with random rotation, flip, scale and intensity."""

import sys
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ..arrays import Floats, Labels
from ..dataset import InvalidDataset, Pair
from ..models.spec import ModelSpec
from ..network.preprocessing import to_input
from ..network.resampling import pixel_positions, resize, sample
from ..rescaling import resized_shape


class CropSampler:
    """Draws augmented crops, each centred on a random object. Keeps all images in memory."""

    def __init__(self, data: Iterable[Pair], spec: ModelSpec, size: int) -> None:
        """Read all images; `size`: side of a crop, pixels. Raises as `Pair.read`, or `InvalidDataset` if no object."""
        self.size, self.channels = size, spec.channel_count
        examples = [_read(pair, spec) for pair in data]
        self._images, self._labels = [image for image, _ in examples], [labels for _, labels in examples]
        self._centres = [_centres(labels) for labels in self._labels]
        # An image with ten times the objects gets more crops, but not ten times as many.
        weights = np.array([len(c) for c in self._centres]) ** 0.75
        if weights.sum() == 0:
            raise InvalidDataset("no label image has an object")
        self._probabilities = weights / weights.sum()

    def batch(self, count: int, rng: np.random.Generator) -> tuple[Floats, Labels]:
        """(count, C, size, size) float32 inputs and (count, size, size) int32 labels."""
        crops = [self._crop(rng) for _ in range(count)]
        return np.stack([image for image, _ in crops]), np.stack([labels for _, labels in crops])

    def _crop(self, rng: np.random.Generator) -> tuple[Floats, Labels]:
        number = rng.choice(len(self._images), p=self._probabilities)
        image, labels, centres = self._images[number], self._labels[number], self._centres[number]
        scale = _scale(rng)
        span = self.size / scale
        corner = centres[rng.integers(len(centres))] - span / 2 + rng.uniform(-span / 8, span / 8)
        rows, columns = (self._positions(c, s, n) for c, s, n in zip(corner, scale, labels.shape, strict=True))
        height, width = labels.shape
        crop = sample(image, rows.clip(max=height - 1), columns.clip(max=width - 1))  # beyond the image, its edge
        truth = _nearest(labels, rows, columns)
        crop, truth = _rotate_and_flip(crop, truth, rng)
        if rng.random() < 0.25:
            crop = _dim_objects(crop, truth, rng)
        return _change_intensity(crop, rng), np.ascontiguousarray(truth)

    def _positions(self, corner: float, scale: float, length: int) -> NDArray[np.float64]:
        """Image positions of the crop's rows (or columns); beyond the image's end only if the image is too small."""
        last = length - 1 - (self.size - 1) / scale
        return np.asarray(np.clip(corner, 0, max(last, 0)) + np.arange(self.size) / scale)


def _centres(labels: Labels) -> NDArray[np.float64]:
    """(K, 2) row and column of each object's centre; twice if it touches another, since those are harder."""
    touching = np.zeros(labels.max() + 1, np.bool_)
    for distance in (1, 2):
        shifted = ((labels[distance:], labels[:-distance]), (labels[:, distance:], labels[:, :-distance]))
        for first, second in shifted:
            differ = (first != second) & (first > 0) & (second > 0)
            touching[first[differ]] = touching[second[differ]] = True
    centres = [
        [(side.start + side.stop) / 2 for side in box]
        for label, box in enumerate(ndimage.find_objects(labels), 1)
        if box
        for _ in range(2 if touching[label] else 1)
    ]
    return np.array(centres).reshape(-1, 2)


def _scale(rng: np.random.Generator) -> NDArray[np.float64]:
    """(2,) random scale of rows and columns; in 30 % of the crops the two differ."""
    size = np.exp(rng.uniform(np.log(0.6), np.log(1.7)))
    stretch = np.exp(rng.uniform(-0.35, 0.35)) if rng.random() < 0.3 else 1.0
    return np.array([size * stretch, size / stretch])


def _read(pair: Pair, spec: ModelSpec) -> tuple[Floats, Labels]:
    """The pair's (C, H, W) network input and (H, W) labels, at the model's scale."""
    pixels, labels = pair.read()
    image = to_input(pixels, spec.channels, spec.normalisation)
    values, numbers = np.unique(labels, return_inverse=True)
    # Without gaps, because later steps loop from 1 to the highest label.
    labels = np.asarray(numbers.reshape(labels.shape) + (values[0] > 0), np.int32)
    labels[np.bincount(labels.ravel())[labels] <= spec.min_pixels] = 0  # the model never reports such small objects
    if spec.scale == 1:
        return image, labels
    size = resized_shape((labels.shape[0], labels.shape[1]), spec.scale, sys.maxsize)
    rows, columns = (pixel_positions(n, m) for n, m in zip(size, labels.shape, strict=True))
    return resize(image, size), _nearest(labels, rows, columns)


def _nearest(labels: Labels, rows: NDArray[np.float64], columns: NDArray[np.float64]) -> Labels:
    """(H, W) labels at the grid rows × columns; background beyond the image, as a mirrored object's centre would lie
    between its two parts.
    """
    r, c = np.rint(rows).astype(int), np.rint(columns).astype(int)
    height, width = labels.shape
    sampled = labels[r.clip(max=height - 1)][:, c.clip(max=width - 1)]
    return np.where((r < height)[:, None] & (c < width), sampled, 0)


def _rotate_and_flip(crop: Floats, truth: Labels, rng: np.random.Generator) -> tuple[Floats, Labels]:
    """Apply one of the square's eight symmetries at random."""
    turns = int(rng.integers(4))
    crop, truth = np.rot90(crop, turns, (1, 2)), np.rot90(truth, turns)
    return (crop[..., ::-1], truth[..., ::-1]) if rng.random() < 0.5 else (crop, truth)


def _dim_objects(crop: Floats, truth: Labels, rng: np.random.Generator) -> Floats:
    """Darken some objects, so that dim objects lie next to bright ones."""
    values, index = np.unique(truth, return_inverse=True)
    chosen = (rng.random(len(values)) < 0.4) & (values > 0)
    gains = np.where(chosen, np.exp(rng.uniform(-1.2, 0, len(values))), 1).astype(np.float32)
    return np.asarray(crop * ndimage.gaussian_filter(gains[index].reshape(truth.shape), 1), np.float32)


def _change_intensity(crop: Floats, rng: np.random.Generator) -> Floats:
    """Apply gamma, contrast and brightness, uneven light, blur and noise, each to a random part of the crops."""
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
