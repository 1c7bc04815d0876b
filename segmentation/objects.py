"""Label map → its objects: bounding box, area, centroid and COCO mask of each.

The map is read once, column by column (COCO's order), into runs of equal labels; everything else is computed from the
runs. So the cost is linear in pixels and runs, and independent of the number of objects.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco

from .arrays import Floats, Labels
from .compiled import compiled

_Integers = NDArray[np.int64]

#: Columns that are read together: 16 int32 labels are a cache line, so each line is fetched once.
_STRIP = 16
#: Columns of `_Scan`'s arrays.
_ID, _START, _STOP = 0, 1, 2
_LEFT, _TOP, _RIGHT, _BOTTOM = 0, 1, 2, 3
_AREA, _SUM_X, _SUM_Y = 0, 1, 2


@dataclass(frozen=True)
class Object:
    """One object of a label map. Coordinates are in pixels; the centre of the first pixel is (0, 0)."""

    #: The object's value in the label map.
    id: int
    #: Seediness of the object's seed pixel, 0 to 1.
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


class _Scan(NamedTuple):
    """The runs and objects of a label map; row i of `boxes` and `moments` is the object with id i."""

    #: (R, 3): id, start, stop; positions count pixels down the columns.
    runs: _Integers
    #: (objects + 1, 4): left, top, right, bottom.
    boxes: _Integers
    #: (objects + 1, 3): area, sum of x, sum of y.
    moments: _Integers


def describe(labels: Labels, scores: Sequence[float] | Floats) -> list[Object]:
    """The objects of a label map, sorted by id; an id without pixels (overwritten by later objects) is left out.

    `labels` is (H, W) with 0 for background and ids 1 to `len(scores)`; object `i` has the score `scores[i - 1]`.
    Raises `ValueError` for any other label or shape.
    """
    if labels.ndim != 2:
        raise ValueError(f"labels must be (height, width), not {labels.shape}")
    scan = _scan(np.ascontiguousarray(labels, np.int32), len(scores))
    ids = np.flatnonzero(scan.moments[:, _AREA])
    size = (labels.shape[0], labels.shape[1])
    areas = scan.moments[ids, _AREA]
    centroids = scan.moments[ids, _SUM_X:] / areas[:, None]
    masks = _compressed_masks(scan.runs, ids, size)
    rows = zip(ids.tolist(), scan.boxes[ids].tolist(), areas.tolist(), centroids.tolist(), masks, strict=True)
    return [
        Object(i, float(scores[i - 1]), (left, top, right - left, bottom - top), area, (x, y), size, rle)
        for i, (left, top, right, bottom), area, (x, y), rle in rows
    ]


def _compressed_masks(runs: _Integers, ids: _Integers, size: tuple[int, int]) -> list[str]:
    """COCO's compressed counts of every id in `ids`."""
    if not len(ids):
        return []
    slots = 2 * np.bincount(runs[:, _ID], minlength=ids[-1] + 1) + 1
    starts = np.cumsum(slots) - slots
    counts, ends = _count(runs, starts, size[0] * size[1])
    masks = [{"size": size, "counts": counts[starts[i] : ends[i]]} for i in ids]
    return [mask["counts"].decode("ascii") for mask in coco.frPyObjects(masks, *size)]


@compiled()
def _scan(labels: Labels, last: int) -> _Scan:
    """Read the map's runs, boxes and moments, for ids from 1 to `last`. Raises `ValueError` for any other label."""
    height, width = labels.shape
    runs = np.empty((1024, 3), np.int64)
    boxes = np.zeros((last + 1, 4), np.int64)
    moments = np.zeros((last + 1, 3), np.int64)
    strip = np.empty((_STRIP, height), np.int32)
    count = 0
    for left in range(0, width, _STRIP):
        columns = min(_STRIP, width - left)
        for y in range(height):
            for c in range(columns):
                strip[c, y] = labels[y, left + c]
        for c in range(columns):
            x, y = left + c, 0
            while y < height:
                label = strip[c, y]
                top = y
                while y < height and strip[c, y] == label:
                    y += 1
                if label == 0:
                    continue
                if label < 0 or label > last:
                    raise ValueError("a label is not between 0 and the number of scores")
                _add_pixels(boxes[label], moments[label], x, top, y)
                count, runs = _append(runs, count, label, x * height + top, y - top)
    return _Scan(runs[:count], boxes, moments)


@compiled()
def _add_pixels(box: _Integers, moments: _Integers, x: int, top: int, bottom: int) -> None:
    """Add the pixels [top, bottom) of column x to an object's box and moments; columns come from left to right."""
    if moments[_AREA] == 0:
        box[_LEFT], box[_TOP] = x, top
    box[_TOP] = min(box[_TOP], top)
    box[_RIGHT] = x + 1
    box[_BOTTOM] = max(box[_BOTTOM], bottom)
    length = bottom - top
    moments[_AREA] += length
    moments[_SUM_X] += x * length
    moments[_SUM_Y] += (top + bottom - 1) * length // 2


@compiled()
def _append(runs: _Integers, count: int, label: int, start: int, length: int) -> tuple[int, _Integers]:
    """Append a run to the first `count`, or extend the last if it continues over a column's end → count and runs."""
    if count and runs[count - 1, _ID] == label and runs[count - 1, _STOP] == start:
        runs[count - 1, _STOP] += length
        return count, runs
    if count == len(runs):
        larger = np.empty((2 * count, 3), np.int64)
        larger[:count] = runs
        runs = larger
    runs[count, _ID], runs[count, _START], runs[count, _STOP] = label, start, start + length
    return count + 1, runs


@compiled()
def _count(runs: _Integers, starts: _Integers, pixels: int) -> tuple[NDArray[np.uint32], _Integers]:
    """COCO counts (pixels off, on, off, …) of all ids in one array, and the ends of each id's counts."""
    counts = np.empty(2 * len(runs) + len(starts), np.uint32)
    ends = starts.copy()
    stops = np.zeros(len(starts), np.int64)
    for r in range(len(runs)):
        i, start, stop = runs[r]
        counts[ends[i]] = start - stops[i]
        counts[ends[i] + 1] = stop - start
        stops[i] = stop
        ends[i] += 2
    for i in range(len(starts)):
        if 0 < stops[i] < pixels:  # COCO writes no empty count at the end
            counts[ends[i]] = pixels - stops[i]
            ends[i] += 1
    return counts, ends
