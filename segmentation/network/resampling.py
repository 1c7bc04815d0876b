"""Resize an image for the network, and sample its fields at the image's pixels."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from ..arrays import Floats
from .inference import Input, RunInput


def resize(planes: Floats, size: tuple[int, int]) -> Floats:
    """(C, H, W) → (C, *size): bilinear, antialiased if it shrinks."""
    if planes.shape[1:] == size:
        return planes
    resized = F.interpolate(torch.from_numpy(planes)[None], size, mode="bilinear", antialias=True, align_corners=False)
    return np.asarray(resized[0], np.float32)


def pixel_positions(side: int, resized: int) -> NDArray[np.float64]:
    """Positions of the pixels of a side after it is resized from `side` to `resized`: (side,), 0 to `resized` − 1."""
    return ((np.arange(side) + 0.5) * (resized / side) - 0.5).clip(0, resized - 1)


def sample(raw: Floats, y: NDArray[np.float64], x: NDArray[np.float64]) -> Floats:
    """Raw fields (C, h, w) at rows `y` and columns `x`, by bilinear interpolation: (C, len(y), len(x)).

    Not antialiased: a mean over pixels of two objects would point between them.
    """
    return _interpolate(_interpolate(raw, y, 1), x, 2)


def _interpolate(raw: Floats, positions: NDArray[np.float64], axis: int) -> Floats:
    lower = positions.astype(np.intp)
    upper = np.minimum(lower + 1, raw.shape[axis] - 1)
    weight = (positions - lower).astype(np.float32).reshape(-1, *[1] * (2 - axis))
    return np.asarray(raw.take(lower, axis) * (1 - weight) + raw.take(upper, axis) * weight, np.float32)


def run_whole(run: RunInput, planes: Floats) -> Floats:
    """The raw fields (2 + bandwidths + 1, h, w) of an entire input (channels, h, w), sides multiples of 8."""
    raw = run(Input(planes, (slice(0, planes.shape[1]), slice(0, planes.shape[2])), compact=False))
    assert isinstance(raw, np.ndarray)
    return raw
