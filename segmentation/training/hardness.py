"""Which images a training still gets wrong: they come more often, and those that it has learnt make room."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

#: How far an image's hardness moves to what its newest crop had.
_STEP = 0.3
#: What is learnt comes less often, but does come; what can't be learnt (a wrong label) does not take over.
_LEAST, _MOST = 0.1, 1.0


class Hardness:
    """Each image's instance term of late, `_LEAST` to `_MOST`; before its first crop, the most.

    A step's crops are cut while the step before it runs, so they are drawn by the hardness of before that step.
    """

    def __init__(self) -> None:
        #: (images,) as of the last step, and of the one before it.
        self.now: NDArray[np.float64] = np.zeros(0)
        self.before: NDArray[np.float64] = np.zeros(0)

    def begin(self, images: int) -> None:
        """Nothing is known yet of so many images; what `restore` brought is."""
        if not len(self.now):
            self.now = self.before = np.full(images, _MOST)

    def follow(self, numbers: NDArray[np.int64], terms: NDArray[np.floating]) -> None:
        """Crops of the images `numbers` (N,) had the instance terms (N,)."""
        self.before, self.now = self.now, self.now.copy()
        for number, term in zip(numbers, terms, strict=True):
            self.now[number] += _STEP * (np.clip(term, _LEAST, _MOST) - self.now[number])

    def state(self) -> torch.Tensor:
        """For a checkpoint."""
        return torch.from_numpy(np.stack([self.before, self.now]))

    def restore(self, state: torch.Tensor) -> None:
        """Go on from `state()`."""
        self.before, self.now = state.numpy(force=True).astype(np.float64)
