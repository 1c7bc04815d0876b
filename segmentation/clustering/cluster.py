"""Fields → labels: the greedy clustering of Neven et al. 2019 (section 3.3), with identical labels in near-linear time.

The published algorithm compares each seed with every foreground pixel: φ > ½ is an ellipse around the seed's embedding.
Neighbouring pixels mostly belong to the same object. So pixels stay in row-major order, in *runs* that are compared at
once, and a grid over the embeddings lists the runs in each of its cells: a seed compares the runs listed in the cells
that its ellipse reaches. If fields are noise, most comparisons in a run are useless; once these have cost as much as
sorting all pixels into cells, the pixels are sorted, and further seeds compare single pixels.

Seeds are sorted in portions, best first: when the next portion is due, most of its pixels are clustered already and
need no sorting.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..arrays import Floats, Labels
from . import kernels
from .fields import Foreground

#: Fractions of the seeds in the first and the second portion; the rest is the third.
_PORTIONS = (0.003, 0.05)
#: This many comparisons per run cost as much as sorting the pixels.
_COMPARISONS_PER_RUN = 10
#: Cells of the grids of runs and of pixels: half-axes of a typical ellipse, and average pixels per cell.
_COARSE, _FINE = (2.0, 32), (0.5, 1)


@dataclass(frozen=True)
class Clustering:
    """Parameters of the algorithm; a model has its own."""

    #: Minimum seediness of a seed.
    seed_threshold: float = 0.9
    #: An object has more pixels than this.
    min_pixels: int = 36
    #: Stop when at most this many foreground pixels are unclustered.
    min_unclustered: int = 0


def cluster(foreground: Foreground, parameters: Clustering) -> tuple[Labels, Floats]:
    """Labels (H, W) int32, 0 is background, objects are 1, 2, … in the order of acceptance; their scores (K,) float32.

    A later object overwrites an earlier one, so an object can end with fewer pixels than it was accepted with, even
    none. The score is the seediness of the object's seed.
    """
    labels = np.zeros(foreground.shape, np.int32)
    if len(foreground.index) == 0:
        return labels, np.zeros(0, np.float32)
    states, seeds = _find_objects(foreground, parameters, _COMPARISONS_PER_RUN)
    kernels.write_labels(states, foreground.index, labels.ravel())
    return labels, foreground.seediness[seeds]


def warm_up() -> None:
    """Compile the kernels (or load them from numba's cache), so that no job waits for it and forks share them."""
    pixel = np.ones((1, 1), np.float32)
    foreground = Foreground((1, 1), np.zeros(1, np.int64), pixel.repeat(2, 0), pixel, pixel[0])
    cluster(foreground, Clustering())
    _find_objects(foreground, Clustering(), comparisons_per_run=-1)


def _find_objects(
    foreground: Foreground, parameters: Clustering, comparisons_per_run: int
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Each pixel's final state and each object's seed. If `comparisons_per_run` < 0, pixels are sorted at once."""
    x, y = foreground.embedding
    fields = x, y, foreground.precision[0], foreground.precision[-1]
    limits = parameters.min_pixels, parameters.min_unclustered
    grid = kernels.make_grid(fields, *_COARSE)
    runs, states, starts, listed = kernels.make_runs(x, y, foreground.seediness, grid)
    objects = np.empty(len(x), np.int64)
    progress = np.array([len(x), 0, comparisons_per_run * len(runs)])
    slots = None
    above = int(kernels.MAX_STATE)
    for lowest in _portion_ends(states, parameters.seed_threshold):
        seeds = _sort_seeds(states, lowest, above)
        if slots is None:
            done = kernels.cluster_by_run(fields, *limits, grid, starts, listed, runs, states, seeds, objects, progress)
            seeds = seeds[done:]
        if slots is None and len(seeds):
            grid = kernels.make_grid(fields, *_FINE)
            starts, slots = kernels.sort_pixels(x, y, grid)
        if slots is not None:
            kernels.cluster_by_pixel(fields, *limits, grid, starts, slots, states.ravel(), seeds, objects, progress)
        if progress[kernels.UNCLUSTERED] <= parameters.min_unclustered:
            break
        above = lowest
    return states.ravel(), objects[: progress[kernels.OBJECTS]]


def _portion_ends(states: NDArray[np.int32], threshold: float) -> list[int]:
    """The lowest state of each portion of the seeds, estimated from a sample; the last is that of all seeds."""
    last = max(int(np.float32(threshold).view(np.int32)), 0)  # a negative threshold acts as 0
    sample = np.sort(states[:: max(1, len(states) // 1024), ::16], axis=None)
    seeds = len(sample) - int(np.searchsorted(sample, last))
    return [*(max(int(sample[-max(int(seeds * portion), 1)]), last) for portion in _PORTIONS), last]


def _sort_seeds(states: NDArray[np.int32], lowest: int, above: int) -> NDArray[np.int64]:
    """The pixels with lowest ≤ state < above, highest state first, ties in row-major order."""
    keys: NDArray[np.int64] = kernels.sort_keys(states, lowest, above)
    keys.sort()  # numpy's sort, several times as fast as numba's
    return keys & 0xFFFFFFFF
