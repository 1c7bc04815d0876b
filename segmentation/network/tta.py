"""Test-time augmentation: average the network's fields over the eight symmetries of the square."""

from itertools import product

import numpy as np

from ..arrays import Floats
from .inference import Input, RunInput
from .resampling import run_whole


def with_tta(run: RunInput) -> RunInput:
    """Wrap `run` so that its result is the mean of the raw fields over the eight symmetries of the square.

    The mean is taken of raw values, before tanh: tanh is odd, so the raw offset of a mirrored view is negated too. Only
    one view and the sum are in memory at a time.
    """

    def run_averaged(item: Input) -> Floats:
        planes = item.planes
        total: Floats | None = None
        for transposed, down, right in product((False, True), (1, -1), (1, -1)):
            view = planes.swapaxes(1, 2) if transposed else planes
            raw = run_whole(run, np.ascontiguousarray(view[:, ::down, ::right]))[:, ::down, ::right]
            if total is None:
                total = np.zeros((len(raw), *planes.shape[1:]), np.float32)
            _add(total, raw, transposed, down, right)
        assert total is not None
        total /= 8
        return total[:, item.core[0], item.core[1]]

    return run_averaged


def _add(total: Floats, raw: Floats, transposed: bool, down: int, right: int) -> None:
    """Add a view's raw fields, with their pixels already mirrored back, to `total`.

    A mirror negates an offset; a transposition swaps the offsets' x and y, and the bandwidths of the two axes.
    """
    signs = [right, down, *[1] * (len(raw) - 2)]
    order = [1, 0, *([3, 2] if len(raw) == 5 else [2]), len(raw) - 1] if transposed else range(len(raw))
    for channel, source in enumerate(order):
        plane = raw[source].T if transposed else raw[source]
        (np.add if signs[source] > 0 else np.subtract)(total[channel], plane, out=total[channel])
