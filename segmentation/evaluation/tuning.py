"""How a model's fields are best read: the seed threshold and the least object, chosen on labelled images.

The network runs once per image and its packed fields are kept on disk; what is tried is the clustering alone. What is
best has the highest mean of four figures: AP at IoU .5 and .75, each pooled over all objects and as the mean over
images. At .5 counts whether objects are found and parted, at .75 whether their outlines fit; pooled, crowded images
decide, and per image the sparse ones do. First a coarse grid is searched, then a fine one around its best.
"""

from __future__ import annotations

import time
from bisect import bisect
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..arrays import Labels
from ..clustering.cluster import Clustering
from ..dataset import Pair
from .metrics import THRESHOLDS, ImageScore, Summary, score, summarise
from .reading import Reader
from .scores import Evaluation

#: Wraps what is iterated over, to show how far it is: the items, what is done with them, and how many they are.
Watch = Callable[[Iterable[Any], str, int], Iterable[Any]]

#: The coarse grid. Thresholds lie closer where a sigmoid's values do.
SEED_THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.93, 0.95, 0.97, 0.98, 0.99)
MIN_PIXELS = (0, 8, 16, 24, 36, 64, 96, 128, 192, 256, 384, 512, 768, 1024)
#: Values of each parameter in the fine grid, between the coarse one's neighbours of the best.
_FINE = 7
#: The part of the true objects that may be no larger than the largest `min_pixels` tried: crumbs and cut-off edges.
_SMALLEST = 0.05
#: A difference below this is rounding.
_SAME = 1e-9
_SCORED = (0.5, 0.75)


@dataclass(frozen=True)
class Trial:
    """One choice of parameters and what it gives."""

    parameters: Clustering
    #: At IoU .5 and .75 alone.
    summary: Summary

    @property
    def objective(self) -> float:
        """The mean of AP at .5 and .75, pooled and per image."""
        return sum(rates.ap for rates in (*self.summary.pooled, *self.summary.mean)) / 4


@dataclass(frozen=True)
class Tuning:
    """What was, what is best, and the whole evaluation with the best."""

    before: Trial
    after: Trial
    evaluation: Evaluation


class Kept:
    """Every image's packed fields, on disk, beside its labels' file: one image is in memory at a time."""

    def __init__(self, data: Sequence[Pair], reader: Reader, folder: Path, watch: Watch) -> None:
        self.reader, self._pairs, self._folder = reader, data, folder
        areas: list[NDArray[np.integer[Any]]] = []
        #: Seconds that the network took for all images.
        self.seconds = 0.0
        for number, pair in enumerate(watch(data, "network", len(data))):
            pixels, truth = pair.read()
            began = time.perf_counter()
            packed = reader.embed(pixels)
            self.seconds += time.perf_counter() - began
            self._file(number).write_bytes(packed)
            areas.append(np.unique(truth[truth != 0], return_counts=True)[1])
        #: (N,) pixels of every true object.
        self.areas = np.concatenate(areas)

    def __len__(self) -> int:
        return len(self._pairs)

    def __iter__(self) -> Iterator[tuple[str, bytes, Labels]]:
        """Each image's name, packed fields and true labels (H, W)."""
        for number, pair in enumerate(self._pairs):
            yield pair.name, self._file(number).read_bytes(), pair.read_labels()

    def _file(self, number: int) -> Path:
        return self._folder / f"{number}.fields"


def tune(kept: Kept, start: Clustering, watch: Watch) -> Tuning:
    """The best parameters near or far from `start`, which is among those tried; `min_unclustered` stays.

    Of parameters that are equally good, the most central are taken: there, the least depends on them.
    """
    thresholds, sizes = grid(start, kept.areas)
    coarse = _try(kept, _choices(start, thresholds, sizes), watch, "coarse grid")
    best = choose(coarse).parameters
    fine = _choices(start, *around(best, thresholds, sizes))
    known = {trial.parameters for trial in coarse}
    trials = coarse + _try(kept, [p for p in fine if p not in known], watch, "fine grid")
    before = next(trial for trial in trials if trial.parameters == start)
    after = choose(trials)
    return Tuning(before, after, _evaluate(kept, after.parameters))


def grid(start: Clustering, areas: NDArray[np.integer[Any]]) -> tuple[list[float], list[int]]:
    """The coarse grid for objects of `areas` (N,) pixels: seed thresholds and least pixels, `start`'s among them."""
    most = max(float(np.quantile(areas, _SMALLEST)) if len(areas) else 0.0, MIN_PIXELS[4])
    sizes = {pixels for pixels in MIN_PIXELS if pixels <= most} | {start.min_pixels}
    return sorted({*SEED_THRESHOLDS, start.seed_threshold}), sorted(sizes)


def around(best: Clustering, thresholds: Sequence[float], sizes: Sequence[int]) -> tuple[list[float], list[int]]:
    """The fine grid: from the coarse neighbour below the best to the one above it."""
    low, high = _neighbours(best.seed_threshold, thresholds)
    least, most = _neighbours(best.min_pixels, sizes)
    fine = {round(float(value), 3) for value in np.linspace(low, high, _FINE)}
    pixels = {round(float(value)) for value in np.linspace(least, most, _FINE)}
    return sorted(fine | {best.seed_threshold}), sorted(pixels | {best.min_pixels})


def choose(trials: Sequence[Trial]) -> Trial:
    """The trial of the highest objective; of several, the one nearest the middle of them in both parameters.

    Raises `ValueError` where there is none.
    """
    top = max(trial.objective for trial in trials)
    ties = [trial for trial in trials if trial.objective > top - _SAME]
    thresholds = sorted({trial.parameters.seed_threshold for trial in ties})
    sizes = sorted({trial.parameters.min_pixels for trial in ties})

    def off_centre(trial: Trial) -> tuple[float, float]:
        steps = (
            abs(thresholds.index(trial.parameters.seed_threshold) - (len(thresholds) - 1) / 2),
            abs(sizes.index(trial.parameters.min_pixels) - (len(sizes) - 1) / 2),
        )
        return sum(steps), max(steps)

    return min(ties, key=off_centre)


def _neighbours(value: float, values: Sequence[Any]) -> tuple[Any, Any]:
    """The values before and after one of them; itself at an end."""
    place = bisect(values, value) - 1
    return values[max(place - 1, 0)], values[min(place + 1, len(values) - 1)]


def _choices(start: Clustering, thresholds: Sequence[float], sizes: Sequence[int]) -> list[Clustering]:
    return [replace(start, seed_threshold=t, min_pixels=size) for t, size in product(thresholds, sizes)]


def _try(kept: Kept, choices: Sequence[Clustering], watch: Watch, what: str) -> list[Trial]:
    """Every choice on every image, each image's fields unpacked once."""
    scores: list[list[ImageScore]] = [[] for _ in choices]
    for _, packed, truth in watch(kept, what, len(kept)):
        fields = kept.reader.unpack(packed)
        for choice, found in zip(choices, scores, strict=True):
            found.append(score(truth, kept.reader.read(fields, choice), _SCORED))
    return [Trial(choice, summarise(found)) for choice, found in zip(choices, scores, strict=True) if found]


def _evaluate(kept: Kept, parameters: Clustering) -> Evaluation:
    """All the scores of one choice, and the seconds that network and clustering take."""
    images, seconds = {}, kept.seconds
    for name, packed, truth in kept:
        began = time.perf_counter()
        found = kept.reader.read(kept.reader.unpack(packed), parameters)
        seconds += time.perf_counter() - began
        images[name] = score(truth, found, THRESHOLDS)
    return Evaluation(summarise(list(images.values())), images, seconds)
