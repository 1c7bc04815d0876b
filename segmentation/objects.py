"""A label map → the objects in it: box, area, centroid and COCO mask of each.

The map is read once, column by column (COCO's order), into runs of equal labels; all else is made from the runs. So the
cost is the pixels plus the runs, however many objects there are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco

#: Columns that are read together: 16 int32 labels are a cache line, so each line is fetched once.
_STRIP = 16


@dataclass(frozen=True)
class Object:
    """One object of a label map; coordinates in pixels, the first pixel's centre is (0, 0)."""

    #: Its value in the label map.
    id: int
    #: Seediness of the pixel that the object grew from, 0 to 1.
    score: float
    #: x, y, width, height, as in COCO.
    bbox: tuple[int, int, int, int]
    #: Pixels.
    area: int
    #: Mean x, mean y.
    centroid: tuple[float, float]
    #: Height and width of the label map.
    size: tuple[int, int]
    #: COCO's compressed run lengths over the whole label map.
    rle: str


def describe(labels: NDArray[np.int32], scores: Sequence[float] | NDArray[np.float32]) -> list[Object]:
    """The objects of a label map, by id; an id without a pixel (overwritten by later objects) is left out.

    `labels` is (H, W) with 0 for background and ids 1 to `len(scores)`; object `i` has `scores[i - 1]`.
    Raises `ValueError` for any other label or shape.
    """
    if labels.ndim != 2:
        raise ValueError(f"labels must be (height, width), not {labels.shape}")
    runs, boxes, moments = _scan(np.ascontiguousarray(labels, np.int32), len(scores))
    found = np.flatnonzero(moments[:, 0])
    height, width = labels.shape
    size = (height, width)
    areas = moments[found, 0]
    centroids = moments[found, 1:] / areas[:, None]
    rows = zip(
        found.tolist(), boxes[found].tolist(), areas.tolist(), centroids.tolist(), _pack(runs, found, size), strict=True
    )
    return [
        Object(i, float(scores[i - 1]), (left, top, right - left, bottom - top), area, (x, y), size, rle)
        for i, (left, top, right, bottom), area, (x, y), rle in rows
    ]


def _pack(runs: NDArray[np.int64], found: NDArray[np.int64], size: tuple[int, int]) -> list[str]:
    """COCO's compressed counts of every id in `found`."""
    if not len(found):
        return []
    slots = 2 * np.bincount(runs[:, 0], minlength=found[-1] + 1) + 1
    begins = np.cumsum(slots) - slots
    counts, ends = _count(runs, begins, size[0] * size[1])
    plain = [{"size": size, "counts": counts[begins[i] : ends[i]]} for i in found]
    return [packed["counts"].decode("ascii") for packed in coco.frPyObjects(plain, *size)]


@numba.njit(cache=True)
def _scan(labels: NDArray[np.int32], last: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """The runs (R, 3): id, start, stop, counting pixels down the columns; and for each id from 0 to `last` its box
    (left, top, right, bottom) and moments (pixels, sum of x, sum of y).
    """
    height, width = labels.shape
    runs = np.empty((1024, 3), np.int64)
    boxes = np.zeros((last + 1, 4), np.int64)
    moments = np.zeros((last + 1, 3), np.int64)
    strip = np.empty((_STRIP, height), np.int32)
    n = 0
    for left in range(0, width, _STRIP):
        columns = min(_STRIP, width - left)
        for y in range(height):
            for c in range(columns):
                strip[c, y] = labels[y, left + c]
        for c in range(columns):
            x, y = left + c, 0
            while y < height:
                i = strip[c, y]
                top = y
                while y < height and strip[c, y] == i:
                    y += 1
                if i == 0:
                    continue
                if i < 0 or i > last:
                    raise ValueError("a label is not between 0 and the number of scores")
                _tally(boxes[i], moments[i], x, top, y)
                n, runs = _append(runs, n, i, x * height + top, y - top)
    return runs[:n], boxes, moments


@numba.njit(cache=True)
def _tally(box: NDArray[np.int64], moment: NDArray[np.int64], x: int, top: int, bottom: int) -> None:
    """Add the pixels [top, bottom) of column x to an object's box and moments."""
    if moment[0] == 0:
        box[0], box[1] = x, top
    box[1] = min(box[1], top)
    box[2] = x + 1
    box[3] = max(box[3], bottom)
    length = bottom - top
    moment[0] += length
    moment[1] += x * length
    moment[2] += (top + bottom - 1) * length // 2


@numba.njit(cache=True)
def _append(runs: NDArray[np.int64], n: int, i: int, start: int, length: int) -> tuple[int, NDArray[np.int64]]:
    """Add a run after the first `n`, or to the last of them where that goes on over a column's end."""
    if n and runs[n - 1, 0] == i and runs[n - 1, 2] == start:
        runs[n - 1, 2] += length
        return n, runs
    if n == len(runs):
        wider = np.empty((2 * n, 3), np.int64)
        wider[:n] = runs
        runs = wider
    runs[n, 0], runs[n, 1], runs[n, 2] = i, start, start + length
    return n + 1, runs


@numba.njit(cache=True)
def _count(
    runs: NDArray[np.int64], begins: NDArray[np.int64], pixels: int
) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
    """Every id's COCO counts (pixels off, on, off, ...), from `begins[id]` on; returned with where they end."""
    counts = np.empty(2 * len(runs) + len(begins), np.uint32)
    ends = begins.copy()
    stops = np.zeros(len(begins), np.int64)
    for r in range(len(runs)):
        i, start, stop = runs[r]
        counts[ends[i]] = start - stops[i]
        counts[ends[i] + 1] = stop - start
        stops[i] = stop
        ends[i] += 2
    for i in range(len(begins)):
        if 0 < stops[i] < pixels:  # COCO writes no empty count at the end
            counts[ends[i]] = pixels - stops[i]
            ends[i] += 1
    return counts, ends
