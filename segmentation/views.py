"""How the network is shown an image, resized and turned, and how its answer is brought back to the image's pixels."""

from __future__ import annotations

from itertools import product

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from .fields import Floats
from .running import Input, Run


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


def whole(run: Run, planes: Floats) -> Floats:
    """The raw fields (2 + bandwidths + 1, h, w) of all of an input (channels, h, w), sides multiples of 8."""
    raw = run(Input(planes, (slice(0, planes.shape[1]), slice(0, planes.shape[2])), compact=False))
    assert isinstance(raw, np.ndarray)
    return raw


def augmented(run: Run) -> Run:
    """Test-time augmentation: the mean of the raw fields over the eight symmetries of the square.

    The raw values are averaged, not what becomes of them: tanh is odd, so a mirrored offset is the negative of the
    raw one too. One view is in memory at a time, beside the sum.
    """

    def mean(given: Input) -> Floats:
        planes = given.planes
        total: Floats | None = None
        for transposed, down, right in product((False, True), (1, -1), (1, -1)):
            seen = planes.swapaxes(1, 2) if transposed else planes
            raw = whole(run, np.ascontiguousarray(seen[:, ::down, ::right]))[:, ::down, ::right]
            if total is None:
                total = np.zeros((len(raw), *planes.shape[1:]), np.float32)
            _add(total, raw, transposed, down, right)
        assert total is not None
        total /= 8
        return total[:, given.core[0], given.core[1]]

    return mean


def _add(total: Floats, raw: Floats, transposed: bool, down: int, right: int) -> None:
    """Add to `total` what the network said of a view: its pixels are in place already, its axes are not.

    A mirror turns an offset round; a transposition makes its x the image's y, and one axis's bandwidth the other's.
    """
    signs = [right, down, *[1] * (len(raw) - 2)]
    order = [1, 0, *([3, 2] if len(raw) == 5 else [2]), len(raw) - 1] if transposed else range(len(raw))
    for channel, own in enumerate(order):
        plane = raw[own].T if transposed else raw[own]
        (np.add if signs[own] > 0 else np.subtract)(total[channel], plane, out=total[channel])
