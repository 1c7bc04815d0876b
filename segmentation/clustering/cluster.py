"""Fields → labels: the greedy clustering of Neven et al. 2019 (section 3.3), near-linear and label for label the same.

The published algorithm compares each seed with every foreground pixel. φ > ½ is an ellipse around the seed's
embedding. Pixels that are neighbours mostly belong together, so they stay in row-major order, in runs that are compared
at once, and each run is listed in the cells of a grid that its embeddings fall into: a seed looks at the runs listed
where its ellipse reaches. In fields that are noise most of a run is in vain; when that has cost as much as sorting all
pixels into cells, they are sorted, and from then on seeds look at single pixels.

Seeds are sorted in portions, the best first: when the next's turn comes, most of its pixels are clustered already and
need no sorting.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from ..arrays import Floats, Labels
from .fields import Foreground

#: The largest float32 x for which exp(-x) > ½ in float32: two steps below the float32 nearest ln 2.
MARGIN = np.float32(0.69314706)
#: Pixels in a run. A constant, so that the compiler makes vector instructions of the loops over one; loops of fewer
#: than 32 it would unroll instead.
_RUN = 64
#: The seeds that are sorted first, those that are sorted next; the rest is last.
_PORTIONS = (0.003, 0.05)
#: So many comparisons for each run there is cost what sorting the pixels does.
_PATIENCE = 10
#: Cells for runs and for pixels: their size in typical half-axes of an ellipse, and how many pixels there are for each.
_COARSE, _FINE = (2.0, 32), (0.5, 1)
#: Beyond all states. Not the very last integers: with those the compiler finds that nothing changes where a pixel is
#: outside, and stores the others one by one.
_LEAST, _MOST = np.int32(-0x7FFFFFFF), np.int32(0x7FFFFFFE)


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
    states, seeds = _objects(foreground, parameters, _PATIENCE)
    _write(states, foreground.index, labels.ravel())
    return labels, foreground.seediness[seeds]


def warm_up() -> None:
    """Compile the kernel (or load it from numba's cache), so that no job waits for that and forks share it."""
    one = np.ones((1, 1), np.float32)
    foreground = Foreground((1, 1), np.zeros(1, np.int64), one.repeat(2, 0), one, one[0])
    cluster(foreground, Clustering())
    _objects(foreground, Clustering(), patience=-1)


def _objects(
    foreground: Foreground, parameters: Clustering, patience: int
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """What the pixels' states are in the end, and every object's seed.

    With a patience below 0 pixels are sorted before the first seed.
    """
    x, y = foreground.embedding
    fields = x, y, foreground.precision[0], foreground.precision[-1]
    limits = parameters.min_pixels, parameters.min_unclustered
    extent = _extent(x, y)
    grid = _grid(extent, fields[2], fields[3], _COARSE)
    runs, states, starts, listed = _in_runs(x, y, foreground.seediness, grid)
    objects = np.empty(len(x), np.int64)
    # Unclustered pixels, objects, and how many more comparisons by the run.
    progress = np.array([len(x), 0, patience * len(runs)])
    slots = None
    above = int(_MOST)
    for lowest in _levels(states, parameters.seed_threshold):
        seeds = _by_seediness(states, lowest, above)
        if slots is None:
            seeds = seeds[_by_run(fields, limits, grid, starts, listed, runs, states, seeds, objects, progress) :]
        if slots is None and len(seeds):
            grid = _grid(extent, fields[2], fields[3], _FINE)
            starts, slots = _in_slots(x, y, grid)
        if slots is not None:
            _by_pixel(fields, limits, grid, starts, slots, states.ravel(), seeds, objects, progress)
        if progress[0] <= parameters.min_unclustered:
            break
        above = lowest
    return states.ravel(), objects[: progress[1]]


def _levels(states: NDArray[np.int32], threshold: float) -> list[int]:
    """The states at which the portions of the seeds end, estimated from a sample, and where all seeds end."""
    last = max(int(np.float32(threshold).view(np.int32)), 0)  # a negative threshold is as 0
    sample = np.sort(states[:: max(1, len(states) // 1024), ::16], axis=None)
    seeds = len(sample) - int(np.searchsorted(sample, last))
    return [*(max(int(sample[-max(int(seeds * portion), 1)]), last) for portion in _PORTIONS), last]


def _by_seediness(states: NDArray[np.int32], lowest: int, above: int) -> NDArray[np.int64]:
    """The pixels with lowest ≤ state < above: the highest first, ties in row-major order."""
    keys: NDArray[np.int64] = _keys(states, lowest, above)
    keys.sort()  # numpy's, which is several times as fast as numba's
    return keys & 0xFFFFFFFF


@njit(cache=True, nogil=True)
def _keys(states, lowest, above):  # type: ignore[no-untyped-def]
    """For each pixel with lowest ≤ state < above a number: its place, less the state's 2³² times."""
    keys = np.empty(states.size, np.int64)
    found = 0
    for run in range(len(states)):
        best = _LEAST
        for lane in range(_RUN):
            best = max(best, states[run, lane])
        if best >= lowest:
            for lane in range(_RUN):
                state = states[run, lane]
                keys[found] = run * _RUN + lane - (np.int64(state) << 32)
                found += lowest <= state < above
    return keys[:found].copy()


@njit(cache=True, nogil=True)
def _extent(x, y):  # type: ignore[no-untyped-def]
    """Left, right, top, bottom: float32, compared as the integers that sort as they do, which vectorises."""
    bits_x, bits_y = x.view(np.int32), y.view(np.int32)
    left = top = np.int32(0x7FFFFFFF)
    right = bottom = np.int32(-0x80000000)
    for pixel in range(len(x)):
        place = _sortable(bits_x[pixel])
        left, right = min(left, place), max(right, place)
        place = _sortable(bits_y[pixel])
        top, bottom = min(top, place), max(bottom, place)
    sides = np.array([_sortable(left), _sortable(right), _sortable(top), _sortable(bottom)], np.int32)
    return sides.view(np.float32)


@njit(cache=True, nogil=True)
def _sortable(bits):  # type: ignore[no-untyped-def]
    """A float32's bits → an int32 that sorts as the float does, and back."""
    return np.int32(bits ^ ((bits >> np.int32(31)) & np.int32(0x7FFFFFFF)))


@njit(cache=True, nogil=True)
def _grid(extent, precision_x, precision_y, fineness):  # type: ignore[no-untyped-def]
    """A cell's size, one over it, left, top, columns, rows.

    Cells have so many half-axes of a typical ellipse, or so many pixels if that makes fewer.
    """
    half_axes, pixels = fineness
    left, right, top, bottom = float(extent[0]), float(extent[1]), float(extent[2]), float(extent[3])
    total = 0.0
    samples = 0
    for pixel in range(0, len(precision_x), max(1, len(precision_x) // 1024)):
        product = float(precision_x[pixel]) * float(precision_y[pixel])
        if 0 < product < math.inf:
            total += product**-0.25
            samples += 1
    half_axis = math.sqrt(math.log(2)) * total / max(samples, 1)
    width, height = right - left, bottom - top
    most = len(precision_x) / pixels + 64.0
    cell = max(half_axis * half_axes, math.sqrt(width * height / most), (width + height) / most, 1e-9)
    # A little more than fits, for rounding.
    columns, rows = int(width / cell * 1.000001) + 2, int(height / cell * 1.000001) + 2
    return cell, np.float32(1 / cell), np.float32(left), np.float32(top), columns, rows


@njit(cache=True, nogil=True)
def _in_runs(x, y, seediness, grid):  # type: ignore[no-untyped-def]
    """The pixels' embeddings (runs, 2, _RUN), their states (runs, _RUN), where each cell's list starts, and the lists.

    An unclustered pixel's state is its seediness's bits, which sort as the seediness does; -1 is clustered, -1 - k is
    in object k. So the greater state is the better seed, and of two states that a pixel is given the lesser is the
    later. The last run is filled up with pixels that are nowhere.
    """
    count = len(x)
    runs = np.empty((-(-count // _RUN), 2, _RUN), np.float32)
    states = np.empty((len(runs), _RUN), np.int32)
    latest = np.full(grid[4] * grid[5], -1, np.int32)
    cells, numbers = np.empty(count, np.int32), np.empty(count, np.int32)
    own = np.empty(_RUN, np.int32)
    entries = 0
    for run in range(len(runs)):
        length = _fill(runs, states, run, x, y, seediness)
        for lane in range(_RUN):
            own[lane] = _cell(runs[run, 0, lane], runs[run, 1, lane], grid)
        for lane in range(length):
            cell = own[lane]
            if latest[cell] != run:
                latest[cell] = run
                cells[entries], numbers[entries] = cell, run
                entries += 1
    starts, where = _counted(cells[:entries], len(latest))
    listed = np.empty(entries, np.int32)
    for entry in range(entries):
        listed[where[entry]] = numbers[entry]
    return runs, states, starts, listed


@njit(cache=True, nogil=True, inline="always")  # a call for every run costs an eighth of the whole
def _fill(runs, states, run, x, y, seediness):  # type: ignore[no-untyped-def]
    """Copy the run's pixels into it; returns how many there are."""
    first = run * _RUN
    length = min(_RUN, len(x) - first)
    bits = seediness.view(np.int32)
    if length == _RUN:
        for lane in range(_RUN):
            runs[run, 0, lane] = x[first + lane]
        for lane in range(_RUN):
            runs[run, 1, lane] = y[first + lane]
        for lane in range(_RUN):
            states[run, lane] = bits[first + lane]
    else:
        runs[run], states[run] = math.inf, _LEAST
        runs[run, 0, :length], runs[run, 1, :length], states[run, :length] = x[first:], y[first:], bits[first:]
    return length


@njit(cache=True, nogil=True)
def _in_slots(x, y, grid):  # type: ignore[no-untyped-def]
    """Where each cell's slots start, and the slots: a record each of x, y and, as int32, the pixel."""
    cells = np.empty(len(x), np.int32)
    for pixel in range(len(x)):
        cells[pixel] = _cell(x[pixel], y[pixel], grid)
    starts, where = _counted(cells, grid[4] * grid[5])
    slots = np.empty((len(x), 4), np.float32)  # four, to lie within a cache line
    pixels = slots.view(np.int32)
    for pixel in range(len(x)):
        slot = where[pixel]
        slots[slot, 0], slots[slot, 1], pixels[slot, 2] = x[pixel], y[pixel], pixel
    return starts, slots


@njit(cache=True, nogil=True)
def _cell(x, y, grid):  # type: ignore[no-untyped-def]
    """The cell of an embedding."""
    _, scale, left, top, columns, _ = grid
    return np.int32(np.int32((y - top) * scale) * np.int32(columns) + np.int32((x - left) * scale))


@njit(cache=True, nogil=True)
def _counted(cells, most):  # type: ignore[no-untyped-def]
    """Counting sort: where each cell's entries start, and each entry's place."""
    starts = np.zeros(most + 1, np.int64)
    for cell in cells:
        starts[cell + 1] += 1
    for cell in range(most):
        starts[cell + 1] += starts[cell]
    following = starts[:-1].copy()
    where = np.empty(len(cells), np.int32)
    for entry in range(len(cells)):
        cell = cells[entry]
        where[entry] = following[cell]
        following[cell] += 1
    return starts, where


@njit(cache=True, nogil=True)
def _by_run(fields, limits, grid, starts, listed, runs, states, seeds, objects, progress):  # type: ignore[no-untyped-def]
    """Deal with the seeds in turn, as long as there is patience. Returns the number dealt with."""
    x, y, precision_x, precision_y = fields
    state = states.ravel()
    latest, hits = np.full(len(runs), -1, np.int64), np.empty(len(runs), np.int32)
    for number, seed in enumerate(seeds):
        if progress[0] <= limits[1]:
            break
        if progress[2] < 0:
            return number
        if state[seed] < 0:
            continue
        state[seed] = -1
        ellipse = x[seed], y[seed], precision_x[seed], precision_y[seed]
        first, last, low, high = _spans(ellipse, grid)
        found = fresh = touched = 0
        for row in range(low, high, grid[4]):
            for entry in range(starts[row + first], starts[row + last]):
                run = listed[entry]
                if latest[run] != seed:
                    latest[run] = seed
                    inside, free = _compare(runs, states, run, ellipse)
                    found += inside
                    fresh += free
                    hits[touched] = run
                    touched += inside > 0
                    progress[2] -= 1
        later = _settled(seed, found, fresh, limits, objects, progress)
        for hit in range(touched):
            _mark(runs, states, hits[hit], ellipse, later)
    return len(seeds)


@njit(cache=True, nogil=True)
def _by_pixel(fields, limits, grid, starts, slots, state, seeds, objects, progress):  # type: ignore[no-untyped-def]
    """Deal with the seeds in turn."""
    x, y, precision_x, precision_y = fields
    pixels = slots.view(np.int32)
    hits = np.empty(len(x), np.int32)
    for seed in seeds:
        if progress[0] <= limits[1]:
            break
        if state[seed] < 0:
            continue
        state[seed] = -1
        ellipse = x[seed], y[seed], precision_x[seed], precision_y[seed]
        first, last, low, high = _spans(ellipse, grid)
        found = fresh = 0
        for row in range(low, high, grid[4]):
            for slot in range(starts[row + first], starts[row + last]):
                hits[found] = pixels[slot, 2]
                found += _inside(slots[slot, 0], slots[slot, 1], ellipse)
        for hit in range(found):
            fresh += state[hits[hit]] >= 0
        later = _settled(seed, found, fresh, limits, objects, progress)
        for hit in range(found):
            state[hits[hit]] = min(state[hits[hit]], later)


@njit(cache=True, nogil=True)
def _settled(seed, found, fresh, limits, objects, progress):  # type: ignore[no-untyped-def]
    """Accept or reject a proposal; returns the state that its pixels get."""
    progress[0] -= 1 + fresh
    # The paper divides two integers in float32; so does this.
    if found > limits[0] and np.float32(fresh) / np.float32(found) > np.float32(0.5):
        objects[progress[1]] = seed
        progress[1] += 1
        return np.int32(-1 - progress[1])
    return np.int32(-1)


@njit(cache=True, nogil=True)
def _inside(x, y, ellipse):  # type: ignore[no-untyped-def]
    """Whether φ > ½."""
    dx, dy = x - ellipse[0], y - ellipse[1]
    return dx * dx * ellipse[2] + dy * dy * ellipse[3] <= MARGIN


@njit(cache=True, nogil=True)
def _compare(runs, states, run, ellipse):  # type: ignore[no-untyped-def]
    """How many pixels of a run are in the ellipse, and how many of them are unclustered."""
    found = fresh = np.int32(0)
    for lane in range(_RUN):
        inside = np.int32(_inside(runs[run, 0, lane], runs[run, 1, lane], ellipse))
        found = np.int32(found + inside)
        fresh = np.int32(fresh + (inside & np.int32(states[run, lane] >= 0)))
    return found, fresh


@njit(cache=True, nogil=True)
def _mark(runs, states, run, ellipse, later):  # type: ignore[no-untyped-def]
    """Give the pixels of a run that are in the ellipse a later state."""
    for lane in range(_RUN):
        inside = _inside(runs[run, 0, lane], runs[run, 1, lane], ellipse)
        states[run, lane] = min(states[run, lane], later if inside else _MOST)


@njit(cache=True, nogil=True)
def _spans(ellipse, grid):  # type: ignore[no-untyped-def]
    """The cells that an ellipse can touch: first and past the last column; the first cells of such rows."""
    cell, _, left, top, columns, rows = grid
    first, last = _span(ellipse[0], ellipse[2], cell, left, columns)
    low, high = _span(ellipse[1], ellipse[3], cell, top, rows)
    return first, last, low * columns, high * columns


@njit(cache=True, nogil=True)
def _span(centre, precision, cell, origin, cells):  # type: ignore[no-untyped-def]
    """First and past the last cell, along one axis (a little more, for rounding)."""
    reach = math.sqrt(MARGIN / precision) * 1.0001 if precision > 0 else math.inf
    slack = 0.01 + 1e-6 * cells
    low, high = (centre - reach - origin) / cell - slack, (centre + reach - origin) / cell + slack
    return int(max(low, 0.0)), int(min(max(high, 0.0), cells - 1.0)) + 1


@njit(cache=True, nogil=True)
def _write(state, index, labels):  # type: ignore[no-untyped-def]
    """The flat label map of the pixels' states."""
    for pixel in range(len(index)):
        labels[index[pixel]] = max(np.int32(-1) - state[pixel], np.int32(0))
