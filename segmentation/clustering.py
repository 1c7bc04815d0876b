"""Fields → labels: the greedy clustering of Neven et al. 2019 (section 3.3), near-linear and label for label the same.

The published algorithm compares each seed with every foreground pixel. φ > ½ is an ellipse around the seed's
embedding, so here the embeddings are sorted into the cells of a grid once, and a proposal looks only at the cells
that its ellipse can touch. Seeds are sorted in two portions, the best first: when the second's turn comes, most of its
pixels are clustered already and need no sorting.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from .fields import Floats, Foreground

Labels = NDArray[np.int32]

#: The largest float32 x for which exp(-x) > ½ in float32: two steps below the float32 nearest ln 2.
MARGIN = np.float32(0.69314706)
#: The portions in which seeds are sorted: the best hundredth, then all that are left.
_PORTIONS = np.array([0.01, 1.0])


@dataclass(frozen=True)
class Clustering:
    """The parameters of the algorithm; a model has its own."""

    #: No pixel of less seediness becomes a seed.
    seed_threshold: float = 0.9
    #: An object has more pixels than this.
    min_pixels: int = 36
    #: Stop when this many foreground pixels or fewer are unclustered.
    min_unclustered: int = 0


def cluster(foreground: Foreground, parameters: Clustering) -> tuple[Labels, Floats]:
    """The labels (H, W) int32, 0 is background, objects 1, 2, … as accepted; and each one's score (K,) float32.

    A later object overwrites an earlier one, so an object may end with fewer pixels than it was accepted with, even
    none. The score is the seediness of the object's seed.
    """
    labels = np.zeros(foreground.shape, np.int32)
    if len(foreground.index) == 0:
        return labels, np.zeros(0, np.float32)
    x, y = foreground.embedding
    scores = _cluster(
        x,
        y,
        (x.min(), x.max(), y.min(), y.max()),  # numpy's are vectorised, numba's are not
        foreground.precision[0],
        foreground.precision[-1],
        foreground.seediness,
        foreground.index,
        np.float32(parameters.seed_threshold),
        parameters.min_pixels,
        parameters.min_unclustered,
        MARGIN,
        labels.ravel(),
    )
    return labels, scores


def warm_up() -> None:
    """Compile the kernel (or load it from numba's cache), so that no job waits for that and forks share it."""
    one = np.ones((1, 1), np.float32)
    for bandwidths in (1, 2):
        index = np.zeros(1, np.int64)
        cluster(Foreground((1, 1), index, np.ones((2, 1), np.float32), one.repeat(bandwidths, 0), one[0]), Clustering())


@njit(cache=True, nogil=True)
def _cluster(  # type: ignore[no-untyped-def]
    x, y, extent, precision_x, precision_y, seediness, index, threshold, min_pixels, min_unclustered, margin, labels
):
    """Fill the flat `labels`; return the scores."""
    count = len(x)
    cell, left, top, columns, rows = _grid(extent, precision_x, precision_y)
    starts, where = _sort_into_cells(x, y, cell, left, top, columns, rows)
    # One record a slot, so that a slot is one place in memory: x, y, then as integers its pixel and whether it is free.
    slots = np.empty((count, 4), np.float32)
    pixels = slots.view(np.uint32)
    for pixel in range(count):
        slot = where[pixel]
        slots[slot, 0], slots[slot, 1] = x[pixel], y[pixel]
        pixels[slot, 2], pixels[slot, 3] = index[pixel], 1
    members = np.empty(count + 1, np.uint32)
    remaining = count
    scores = np.empty(count, np.float32)
    objects = 0
    above = np.float32(math.inf)
    for lowest in _levels(seediness, threshold):
        for seed in _by_seediness(seediness, lowest, above, pixels, where):
            if remaining <= min_unclustered:
                return scores[:objects].copy()
            if not pixels[where[seed], 3]:
                continue
            pixels[where[seed], 3] = 0
            remaining -= 1
            sx, sy, px, py = x[seed], y[seed], precision_x[seed], precision_y[seed]
            first, last = _span(sx, px, margin, cell, left, columns)
            low, high = _span(sy, py, margin, cell, top, rows)
            found = fresh = 0
            for row in range(low, high + 1):
                for slot in range(starts[row * columns + first], starts[row * columns + last + 1]):
                    dx, dy = slots[slot, 0] - sx, slots[slot, 1] - sy
                    members[found] = slot
                    inside = dx * dx * px + dy * dy * py <= margin
                    found += inside
                    fresh += inside & pixels[slot, 3]
            # The paper divides two integers in float32; so does this.
            accepted = found > min_pixels and np.float32(fresh) / np.float32(found) > np.float32(0.5)
            if accepted:
                scores[objects] = seediness[seed]
                objects += 1
                for member in members[:found]:
                    labels[pixels[member, 2]] = objects
            for member in members[:found]:
                pixels[member, 3] = 0
            remaining -= fresh
        above = lowest
    return scores[:objects].copy()


@njit(cache=True, nogil=True)
def _grid(extent, precision_x, precision_y):  # type: ignore[no-untyped-def]
    """Cell size, left, top, columns, rows: cells of half a typical half-axis, at most about a cell a pixel."""
    left, right, top, bottom = extent
    count = len(precision_x)
    step = max(1, count // 1024)
    total = 0.0
    samples = 0
    for pixel in range(0, count, step):
        product = float(precision_x[pixel]) * float(precision_y[pixel])
        if 0 < product < math.inf:
            total += product**-0.25
            samples += 1
    half_axis = math.sqrt(math.log(2)) * total / max(samples, 1)
    width, height = right - left, bottom - top
    fewest = math.sqrt(width * height / (count + 64.0))
    cell = max(half_axis / 2, fewest, (width + height) / (count + 64.0), 1e-9)
    return cell, left, top, int(width / cell) + 1, int(height / cell) + 1


@njit(cache=True, nogil=True)
def _sort_into_cells(x, y, cell, left, top, columns, rows):  # type: ignore[no-untyped-def]
    """Counting sort: where each cell's slots start, and each pixel's slot."""
    starts = np.zeros(rows * columns + 1, np.int64)
    where = np.empty(len(x), np.int32)
    scale = np.float32(1 / cell)
    for pixel in range(len(x)):
        row, column = np.int32((y[pixel] - top) * scale), np.int32((x[pixel] - left) * scale)
        where[pixel] = row * np.int32(columns) + column
    for pixel in range(len(x)):
        starts[where[pixel] + 1] += 1
    for at in range(rows * columns):
        starts[at + 1] += starts[at]
    following = starts[:-1].copy()
    for pixel in range(len(x)):
        at = where[pixel]
        where[pixel] = following[at]
        following[at] += 1
    return starts, where


@njit(cache=True, nogil=True)
def _span(centre, precision, margin, cell, origin, cells):  # type: ignore[no-untyped-def]
    """First and last cell, along one axis, that the ellipse can touch (a little more, for rounding)."""
    reach = math.sqrt(margin / precision) * 1.0001 if precision > 0 else math.inf
    slack = 0.01 + 1e-6 * cells
    low, high = (centre - reach - origin) / cell - slack, (centre + reach - origin) / cell + slack
    return int(max(low, 0.0)), int(min(max(high, 0.0), cells - 1.0))


@njit(cache=True, nogil=True)
def _levels(seediness, threshold):  # type: ignore[no-untyped-def]
    """Falling levels of seediness that part the seeds into portions, estimated from a sample; the threshold is last."""
    sample = np.sort(seediness[:: max(1, len(seediness) // 4096)])
    seeds = len(sample) - np.searchsorted(sample, threshold)
    levels = np.empty(len(_PORTIONS), np.float32)
    for number, portion in enumerate(_PORTIONS):
        levels[number] = sample[len(sample) - max(int(seeds * portion), 1)]
        levels[number] = max(levels[number], threshold)
    levels[-1] = threshold
    return levels


@njit(cache=True, nogil=True)
def _by_seediness(seediness, lowest, above, pixels, where):  # type: ignore[no-untyped-def]
    """The unclustered pixels with lowest ≤ seediness < above: the highest first, ties in row-major order."""
    keys = np.empty(len(seediness), np.int64)
    bits = seediness.view(np.int32)  # a positive float's bits sort as the float does
    count = 0
    for pixel in range(len(seediness)):
        if lowest <= seediness[pixel] < above and pixels[where[pixel], 3]:
            keys[count] = pixel - (np.int64(bits[pixel]) << 32)
            count += 1
    keys = np.sort(keys[:count])
    return (keys & 0xFFFFFFFF).astype(np.uint32)
