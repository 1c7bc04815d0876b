"""Joins the objects of consecutive planes that are sections of one object in depth.

Two objects of consecutive planes are sections of one object if their intersection over union (IoU) is large enough.
Each object is joined to one of the next plane at most, the pairs with the greatest IoU first. Cellpose's option
`stitch_threshold` serves the same purpose.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .arrays import Labels

#: Numbers by the object's id in its plane; 0, the background, stays 0.
Numbering = NDArray[np.int32]


class _Pairs(NamedTuple):
    """Objects of two planes that share pixels: ids in each plane, their IoU, and the first pixel that they share."""

    before: NDArray[np.int64]
    after: NDArray[np.int64]
    iou: NDArray[np.float64]
    first_pixel: NDArray[np.int64]


class Linker:
    """Numbers the objects of planes that come one after the other, so that joined objects have one number.

    Holds the last plane only. Numbers are 1, 2, … in the order of their first plane, and within it of the ids.
    """

    def __init__(self, threshold: float) -> None:
        """`threshold` is the minimum IoU of two objects that are joined, above 0, at most 1."""
        self._threshold = threshold
        self._last: tuple[Labels, Numbering] | None = None
        #: The number of different objects so far.
        self.count = 0

    def restart(self) -> None:
        """The next plane is not adjacent to the last: no object is joined to those before it."""
        self._last = None

    def add(self, labels: Labels) -> Numbering:
        """The numbers of the next plane's objects, whose (H, W) labels are ids from 1 on; an id may be missing.

        Raises `ValueError` if the plane's size differs from the last one's.
        """
        numbers = np.zeros(int(labels.max(initial=0)) + 1, np.int32)
        if self._last is not None:
            last_labels, last_numbers = self._last
            before, after = _matches(last_labels, labels, self._threshold)
            numbers[after] = last_numbers[before]
        present = np.flatnonzero(np.bincount(labels.ravel(), minlength=len(numbers)))
        new = present[(present > 0) & (numbers[present] == 0)]
        numbers[new] = np.arange(self.count + 1, self.count + 1 + len(new), dtype=np.int32)
        self.count += len(new)
        self._last = labels, numbers
        return numbers


def _matches(before: Labels, after: Labels, threshold: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The ids of the objects to join, each at most once: the pairs with the greatest IoU first.

    Of equal pairs, the one whose first shared pixel comes first: so the ids themselves decide nothing.
    """
    pairs = _overlaps(before, after)
    order = np.lexsort((pairs.first_pixel, -pairs.iou))
    order = order[pairs.iou[order] >= threshold]
    free_before, free_after = np.ones(before.max(initial=0) + 1, np.bool_), np.ones(after.max(initial=0) + 1, np.bool_)
    chosen = []
    for pair in order.tolist():
        one, other = pairs.before[pair], pairs.after[pair]
        if free_before[one] and free_after[other]:
            free_before[one] = free_after[other] = False
            chosen.append(pair)
    return pairs.before[chosen], pairs.after[chosen]


def _overlaps(before: Labels, after: Labels) -> _Pairs:
    if before.shape != after.shape:
        raise ValueError(f"planes of {before.shape} and {after.shape} can't be joined")
    columns = int(after.max(initial=0)) + 1
    codes = before.ravel().astype(np.int64) * columns + after.ravel()
    codes[((before == 0) | (after == 0)).ravel()] = 0
    # Runs of equal pairs are some twenty times fewer than pixels.
    starts = np.flatnonzero(np.diff(codes, prepend=-1))
    lengths = np.diff(starts, append=codes.size)
    shared = codes[starts] > 0
    starts, lengths = starts[shared], lengths[shared]
    pairs, first, inverse = np.unique(codes[starts], return_index=True, return_inverse=True)
    intersection = np.bincount(inverse, lengths, len(pairs)).astype(np.int64)
    one, other = np.divmod(pairs, columns)
    union = np.bincount(before.ravel())[one] + np.bincount(after.ravel(), minlength=columns)[other] - intersection
    return _Pairs(one, other, intersection / union, starts[first])
