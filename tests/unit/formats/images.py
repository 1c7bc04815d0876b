"""Label images for the tests of formats."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray

SHAPES = array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=12)
#: Any labels, in which all numbers up to the largest need not occur.
LABELS = st.integers(0, 4).flatmap(lambda top: arrays(np.int32, SHAPES, elements=st.integers(0, top)))


def example() -> NDArray[np.int32]:
    """1: a rectangle at the border; 2: a ring with 3 in it; 4: two parts that touch at a corner; 5: one pixel."""
    labels = np.zeros((20, 30), np.int32)
    labels[0:6, 3:10] = 1
    labels[8:15, 20:27] = 2
    labels[10:13, 22:25] = 0
    labels[11, 23] = 3
    labels[16:18, 2:4] = labels[18:20, 4:6] = 4
    labels[10, 15] = 5
    return labels
