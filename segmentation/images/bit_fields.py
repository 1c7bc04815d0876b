"""Channels that share the bits of a number, spread over the whole range of their type."""

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ..arrays import Pixels


def is_contiguous(mask: int) -> bool:
    """Whether the bits of a mask stand side by side, or there are none."""
    lowest = mask & -mask
    return mask & (mask + lowest) == 0


def channel(numbers: NDArray[np.uint32], mask: int, dtype: DTypeLike) -> Pixels:
    """The bits under a mask, spread over the range of an unsigned type: all bits set is its maximum.

    A mask without bits gives zeros.
    """
    if not mask:
        return np.zeros(numbers.shape, dtype)
    shift = (mask & -mask).bit_length() - 1
    values = (numbers & np.uint32(mask)) >> np.uint32(shift)
    full, maximum = mask >> shift, np.iinfo(dtype).max
    if full == maximum:
        return values.astype(dtype)
    spread: Pixels = np.rint(values * (maximum / full)).astype(dtype)
    return spread
