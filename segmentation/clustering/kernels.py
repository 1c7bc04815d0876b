"""Numba kernels of the clustering. They share one file: numba's cache does not notice a change in another file.

`fields` is (x, y, precision_x, precision_y) of the foreground pixels, each (N,) float32. It and a grid come from Python
as plain tuples: a named tuple as an argument costs 1 µs more per call, 1 % of a small image's time.
"""

import math
from typing import NamedTuple

import numpy as np

from ..compiled import compiled

#: The largest float32 x for which exp(-x) > ½ in float32: two steps below the float32 nearest ln 2.
MARGIN = np.float32(0.69314706)
#: Pixels in a run. A constant, so that the compiler vectorises the loops over one; it unrolls loops shorter than 32.
_RUN = 64
#: Indices into `progress`: unclustered pixels, objects, and comparisons left before the pixels are sorted.
UNCLUSTERED, OBJECTS, COMPARISONS = 0, 1, 2
#: Bounds of all states. Not the very last integers: with those the compiler sees that nothing changes at pixels outside
#: an ellipse, and stores the others one by one.
MIN_STATE, MAX_STATE = np.int32(-0x7FFFFFFF), np.int32(0x7FFFFFFE)


class Ellipse(NamedTuple):
    """A seed's embedding and precision: inside the ellipse, φ > ½."""

    x: np.float32
    y: np.float32
    precision_x: np.float32
    precision_y: np.float32


class Grid(NamedTuple):
    """A grid of square cells over all embeddings."""

    #: Side of a cell, in the embeddings' unit.
    cell: float
    #: 1 / `cell`.
    cells_per_unit: np.float32
    left: np.float32
    top: np.float32
    columns: int
    rows: int


class Window(NamedTuple):
    """The cells that an ellipse can reach: columns [left, right), rows that start at cells [top, bottom)."""

    left: int
    right: int
    top: int
    bottom: int


@compiled()
def sort_keys(states, lowest, above):  # type: ignore[no-untyped-def]
    """For each pixel with lowest ≤ state < above: its position - state · 2³²."""
    keys = np.empty(states.size, np.int64)
    count = 0
    for run in range(len(states)):
        best = MIN_STATE
        for lane in range(_RUN):
            best = max(best, states[run, lane])
        if best >= lowest:
            for lane in range(_RUN):
                state = states[run, lane]
                keys[count] = run * _RUN + lane - (np.int64(state) << 32)
                count += lowest <= state < above
    return keys[:count].copy()


@compiled()
def _extent(x, y):  # type: ignore[no-untyped-def]
    """Left, right, top, bottom of all embeddings; compares floats as integers of the same order, which vectorises."""
    bits_x, bits_y = x.view(np.int32), y.view(np.int32)
    left = top = np.int32(0x7FFFFFFF)
    right = bottom = np.int32(-0x80000000)
    for pixel in range(len(x)):
        position = _sortable(bits_x[pixel])
        left, right = min(left, position), max(right, position)
        position = _sortable(bits_y[pixel])
        top, bottom = min(top, position), max(bottom, position)
    sides = np.array([_sortable(left), _sortable(right), _sortable(top), _sortable(bottom)], np.int32).view(np.float32)
    return float(sides[0]), float(sides[1]), float(sides[2]), float(sides[3])


@compiled()
def _sortable(bits):  # type: ignore[no-untyped-def]
    """A float32's bits → an int32 that sorts as the float does; also the inverse."""
    return np.int32(bits ^ ((bits >> np.int32(31)) & np.int32(0x7FFFFFFF)))


@compiled()
def make_grid(fields, half_axes, pixels):  # type: ignore[no-untyped-def]
    """A plain `Grid` with cells of `half_axes` of a typical ellipse, or of `pixels` on average if that is larger."""
    x, y, precision_x, precision_y = fields
    left, right, top, bottom = _extent(x, y)
    total = 0.0
    samples = 0
    for pixel in range(0, len(precision_x), max(1, len(precision_x) // 1024)):
        product = float(precision_x[pixel]) * float(precision_y[pixel])
        if 0 < product < math.inf:
            total += product**-0.25
            samples += 1
    half_axis = math.sqrt(math.log(2)) * total / max(samples, 1)
    width, height = right - left, bottom - top
    max_cells = len(precision_x) / pixels + 64.0
    cell = max(half_axis * half_axes, math.sqrt(width * height / max_cells), (width + height) / max_cells, 1e-9)
    # Slightly more than fits, because of rounding.
    columns, rows = int(width / cell * 1.000001) + 2, int(height / cell * 1.000001) + 2
    return cell, np.float32(1 / cell), np.float32(left), np.float32(top), columns, rows


@compiled()
def make_runs(x, y, seediness, grid):  # type: ignore[no-untyped-def]
    """The pixels' embeddings (runs, 2, _RUN) and states (runs, _RUN); the start of each cell's list of runs; the lists.

    The state of an unclustered pixel is its seediness's bits, which sort as the seediness does; -1 is clustered, and
    -1 - k is in object k. So the pixel of greater state is the better seed, and the lesser of two states of a pixel is
    the later one. The last run is filled up with pixels at infinity.
    """
    grid = Grid(*grid)
    count = len(x)
    runs = np.empty((-(-count // _RUN), 2, _RUN), np.float32)
    states = np.empty((len(runs), _RUN), np.int32)
    last_run = np.full(grid.columns * grid.rows, -1, np.int32)
    cells, numbers = np.empty(count, np.int32), np.empty(count, np.int32)
    lane_cells = np.empty(_RUN, np.int32)
    entries = 0
    for run in range(len(runs)):
        length = _fill_run(runs, states, run, x, y, seediness)
        for lane in range(_RUN):
            lane_cells[lane] = _cell(runs[run, 0, lane], runs[run, 1, lane], grid)
        for lane in range(length):
            cell = lane_cells[lane]
            if last_run[cell] != run:
                last_run[cell] = run
                cells[entries], numbers[entries] = cell, run
                entries += 1
    starts, positions = _counting_sort(cells[:entries], len(last_run))
    listed = np.empty(entries, np.int32)
    for entry in range(entries):
        listed[positions[entry]] = numbers[entry]
    return runs, states, starts, listed


@compiled(inline="always")  # a call per run costs an eighth of the total time
def _fill_run(runs, states, run, x, y, seediness):  # type: ignore[no-untyped-def]
    """Copy the run's pixels into it; returns their number."""
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
        runs[run], states[run] = math.inf, MIN_STATE
        runs[run, 0, :length], runs[run, 1, :length], states[run, :length] = x[first:], y[first:], bits[first:]
    return length


@compiled()
def sort_pixels(x, y, grid):  # type: ignore[no-untyped-def]
    """The start of each cell's slots, and the slots: a record each of x, y and, as int32, the pixel."""
    grid = Grid(*grid)
    cells = np.empty(len(x), np.int32)
    for pixel in range(len(x)):
        cells[pixel] = _cell(x[pixel], y[pixel], grid)
    starts, positions = _counting_sort(cells, grid.columns * grid.rows)
    slots = np.empty((len(x), 4), np.float32)  # four, so that no slot crosses a cache line
    pixels = slots.view(np.int32)
    for pixel in range(len(x)):
        slot = positions[pixel]
        slots[slot, 0], slots[slot, 1], pixels[slot, 2] = x[pixel], y[pixel], pixel
    return starts, slots


@compiled()
def _cell(x, y, grid):  # type: ignore[no-untyped-def]
    """The cell of an embedding."""
    row, column = np.int32((y - grid.top) * grid.cells_per_unit), np.int32((x - grid.left) * grid.cells_per_unit)
    return np.int32(row * np.int32(grid.columns) + column)


@compiled()
def _counting_sort(cells, count):  # type: ignore[no-untyped-def]
    """The start of each cell's entries, and each entry's position."""
    starts = np.zeros(count + 1, np.int64)
    for cell in cells:
        starts[cell + 1] += 1
    for cell in range(count):
        starts[cell + 1] += starts[cell]
    next_position = starts[:-1].copy()
    positions = np.empty(len(cells), np.int32)
    for entry in range(len(cells)):
        cell = cells[entry]
        positions[entry] = next_position[cell]
        next_position[cell] += 1
    return starts, positions


@compiled()
def cluster_by_run(fields, min_pixels, min_unclustered, grid, starts, listed, runs, states, seeds, objects, progress):  # type: ignore[no-untyped-def]
    """Process the seeds in turn until no comparisons are left. Returns the number of processed seeds."""
    grid = Grid(*grid)
    x, y, precision_x, precision_y = fields
    state = states.ravel()
    last_seed, hits = np.full(len(runs), -1, np.int64), np.empty(len(runs), np.int32)
    for number, seed in enumerate(seeds):
        if progress[UNCLUSTERED] <= min_unclustered:
            break
        if progress[COMPARISONS] < 0:
            return number
        if state[seed] < 0:
            continue
        state[seed] = -1
        ellipse = Ellipse(x[seed], y[seed], precision_x[seed], precision_y[seed])
        window = _window(ellipse, grid)
        pixels = unclustered = hit_runs = 0
        for row in range(window.top, window.bottom, grid.columns):
            for entry in range(starts[row + window.left], starts[row + window.right]):
                run = listed[entry]
                if last_seed[run] != seed:
                    last_seed[run] = seed
                    inside, free = _compare(runs, states, run, ellipse)
                    pixels += inside
                    unclustered += free
                    hits[hit_runs] = run
                    hit_runs += inside > 0
                    progress[COMPARISONS] -= 1
        new_state = _decide(seed, pixels, unclustered, min_pixels, objects, progress)
        for hit in range(hit_runs):
            _mark(runs, states, hits[hit], ellipse, new_state)
    return len(seeds)


@compiled()
def cluster_by_pixel(fields, min_pixels, min_unclustered, grid, starts, slots, state, seeds, objects, progress):  # type: ignore[no-untyped-def]
    """Process the seeds in turn."""
    grid = Grid(*grid)
    x, y, precision_x, precision_y = fields
    slot_pixels = slots.view(np.int32)
    hits = np.empty(len(x), np.int32)
    for seed in seeds:
        if progress[UNCLUSTERED] <= min_unclustered:
            break
        if state[seed] < 0:
            continue
        state[seed] = -1
        ellipse = Ellipse(x[seed], y[seed], precision_x[seed], precision_y[seed])
        window = _window(ellipse, grid)
        pixels = unclustered = 0
        for row in range(window.top, window.bottom, grid.columns):
            for slot in range(starts[row + window.left], starts[row + window.right]):
                hits[pixels] = slot_pixels[slot, 2]
                pixels += _inside(slots[slot, 0], slots[slot, 1], ellipse)
        for hit in range(pixels):
            unclustered += state[hits[hit]] >= 0
        new_state = _decide(seed, pixels, unclustered, min_pixels, objects, progress)
        for hit in range(pixels):
            state[hits[hit]] = min(state[hits[hit]], new_state)


@compiled()
def _decide(seed, pixels, unclustered, min_pixels, objects, progress):  # type: ignore[no-untyped-def]
    """Accept or reject the proposal of a seed; returns the new state of its pixels."""
    progress[UNCLUSTERED] -= 1 + unclustered
    # The paper divides two integers in float32; so does this.
    if pixels > min_pixels and np.float32(unclustered) / np.float32(pixels) > np.float32(0.5):
        objects[progress[OBJECTS]] = seed
        progress[OBJECTS] += 1
        return np.int32(-1 - progress[OBJECTS])
    return np.int32(-1)


@compiled()
def _inside(x, y, ellipse):  # type: ignore[no-untyped-def]
    """Whether φ > ½."""
    dx, dy = x - ellipse.x, y - ellipse.y
    return dx * dx * ellipse.precision_x + dy * dy * ellipse.precision_y <= MARGIN


@compiled()
def _compare(runs, states, run, ellipse):  # type: ignore[no-untyped-def]
    """The numbers of the run's pixels inside the ellipse, and of those of them that are unclustered."""
    pixels = unclustered = np.int32(0)
    for lane in range(_RUN):
        inside = np.int32(_inside(runs[run, 0, lane], runs[run, 1, lane], ellipse))
        pixels = np.int32(pixels + inside)
        unclustered = np.int32(unclustered + (inside & np.int32(states[run, lane] >= 0)))
    return pixels, unclustered


@compiled()
def _mark(runs, states, run, ellipse, new_state):  # type: ignore[no-untyped-def]
    """Set the state of the run's pixels inside the ellipse, unless theirs is later."""
    for lane in range(_RUN):
        inside = _inside(runs[run, 0, lane], runs[run, 1, lane], ellipse)
        states[run, lane] = min(states[run, lane], new_state if inside else MAX_STATE)


@compiled()
def _window(ellipse, grid):  # type: ignore[no-untyped-def]
    """The `Window` of an ellipse."""
    left, right = _cell_range(ellipse.x, ellipse.precision_x, grid.cell, grid.left, grid.columns)
    top, bottom = _cell_range(ellipse.y, ellipse.precision_y, grid.cell, grid.top, grid.rows)
    return Window(left, right, top * grid.columns, bottom * grid.columns)


@compiled()
def _cell_range(centre, precision, cell, origin, cells):  # type: ignore[no-untyped-def]
    """The first cell and the one past the last along an axis, slightly more because of rounding."""
    reach = math.sqrt(MARGIN / precision) * 1.0001 if precision > 0 else math.inf
    slack = 0.01 + 1e-6 * cells
    low, high = (centre - reach - origin) / cell - slack, (centre + reach - origin) / cell + slack
    return int(max(low, 0.0)), int(min(max(high, 0.0), cells - 1.0)) + 1


@compiled()
def write_labels(state, index, labels):  # type: ignore[no-untyped-def]
    """Write the objects of the pixels' states into a flat label map."""
    for pixel in range(len(index)):
        labels[index[pixel]] = max(np.int32(-1) - state[pixel], np.int32(0))
