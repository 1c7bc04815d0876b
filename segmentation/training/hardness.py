"""Which images a training still gets wrong: they come more often, and those that it has learnt make room."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

#: How far an image's hardness moves to what its newest crop had.
_STEP = 0.3
#: What is learnt comes less often, but does come; what can't be learnt (a wrong label) does not take over.
_LEAST, _MOST = 0.1, 1.0


def unknown(images: int) -> NDArray[np.float64]:
    """(images,) the hardness of images of which nothing is known yet: the most."""
    return np.full(images, _MOST)


def followed(
    hardness: NDArray[np.float64], numbers: NDArray[np.int64], terms: NDArray[np.floating]
) -> NDArray[np.float64]:
    """(images,) the hardness after crops of the images `numbers` (N,) had the instance terms (N,): those of late count
    most, each as `_LEAST` to `_MOST`.
    """
    hardness = hardness.copy()
    for number, term in zip(numbers, terms, strict=True):
        hardness[number] += _STEP * (np.clip(term, _LEAST, _MOST) - hardness[number])
    return hardness
