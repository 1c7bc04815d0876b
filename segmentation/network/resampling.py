"""How the network is shown an image, resized and turned, and how its answer is brought back to the image's pixels."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from ..arrays import Floats
from .inference import Input, RunInput


def resize(planes: Floats, size: tuple[int, int]) -> Floats:
    """(C, H, W) → (C, *size): bilinear, antialiased where it shrinks."""
    if planes.shape[1:] == size:
        return planes
    tensor = torch.from_numpy(planes)[None]
    found = F.interpolate(tensor, size, mode="bilinear", antialias=True, align_corners=False)
    return np.asarray(found[0], np.float32)


def places(side: int, resized: int) -> NDArray[np.float64]:
    """Where the pixels of a side `side` long lie on it once it is `resized` long: (side,), 0 to `resized` − 1."""
    return ((np.arange(side) + 0.5) * (resized / side) - 0.5).clip(0, resized - 1)


def sample(raw: Floats, y: NDArray[np.float64], x: NDArray[np.float64]) -> Floats:
    """Raw fields (C, h, w) at rows `y` and columns `x`, between pixels bilinearly: (C, len(y), len(x)).

    Not antialiased: a mean over pixels of two objects would point between them.
    """
    return _between(_between(raw, y, 1), x, 2)


def _between(raw: Floats, at: NDArray[np.float64], axis: int) -> Floats:
    lower = at.astype(np.intp)
    upper = np.minimum(lower + 1, raw.shape[axis] - 1)
    weight = (at - lower).astype(np.float32).reshape(-1, *[1] * (2 - axis))
    return np.asarray(raw.take(lower, axis) * (1 - weight) + raw.take(upper, axis) * weight, np.float32)


def run_whole(run: RunInput, planes: Floats) -> Floats:
    """The raw fields (2 + bandwidths + 1, h, w) of all of an input (channels, h, w), sides multiples of 8."""
    raw = run(Input(planes, (slice(0, planes.shape[1]), slice(0, planes.shape[2])), compact=False))
    assert isinstance(raw, np.ndarray)
    return raw
