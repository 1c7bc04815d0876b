"""Test-time augmentation: the network sees an image in all eight symmetries of the square."""

from __future__ import annotations

from itertools import product

import numpy as np

from ..arrays import Floats
from .inference import Input, RunInput
from .resampling import run_whole


def augmented(run: RunInput) -> RunInput:
    """Test-time augmentation: the mean of the raw fields over the eight symmetries of the square.

    The raw values are averaged, not what becomes of them: tanh is odd, so a mirrored offset is the negative of the
    raw one too. One view is in memory at a time, beside the sum.
    """

    def mean(given: Input) -> Floats:
        planes = given.planes
        total: Floats | None = None
        for transposed, down, right in product((False, True), (1, -1), (1, -1)):
            seen = planes.swapaxes(1, 2) if transposed else planes
            raw = run_whole(run, np.ascontiguousarray(seen[:, ::down, ::right]))[:, ::down, ::right]
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
