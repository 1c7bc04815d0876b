"""Choose a model's seed threshold and minimum object size on labelled images.

The network runs once per image and its packed fields are cached on disk; only the clustering is repeated. The objective
is the mean of four figures: AP at IoU .5 and .75, each pooled over all objects and as the mean over images. AP at .5
counts whether objects are found and separated, at .75 whether their outlines fit; pooled AP is dominated by crowded
images, AP per image by sparse ones. A coarse grid is searched first, then a fine grid around its best point.
"""

from __future__ import annotations

import time
from bisect import bisect
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..arrays import Labels, Pixels
from ..clustering.cluster import Clustering, cluster
from ..clustering.fields import Foreground, unpack
from ..dataset import Pair
from ..network.tiling import Bounds
from ..rescaling import clustering_parameters
from .metrics import THRESHOLDS, ImageScore, Summary, score, summarise
from .scores import Evaluation

if TYPE_CHECKING:
    from ..segmenter import Segmenter

#: Wraps an iterable to show progress. Arguments: the items, the name of the step, the number of items.
Progress = Callable[[Iterable[Any], str, int], Iterable[Any]]

#: The coarse grid. Thresholds are denser near 1, because a sigmoid's values are.
SEED_THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.93, 0.95, 0.97, 0.98, 0.99)
MIN_PIXELS = (0, 8, 16, 24, 36, 64, 96, 128, 192, 256, 384, 512, 768, 1024)
#: Values per parameter in the fine grid, between the coarse neighbours of the best point.
_FINE = 7
#: Share of the true objects that the largest `min_pixels` tried may drop: specks and objects cut by the border.
_DROPPED_SHARE = 0.05
#: Objectives that differ by less are equal up to rounding.
_TOLERANCE = 1e-9
#: IoU thresholds of the objective.
_SCORED = (0.5, 0.75)


@dataclass(frozen=True)
class Trial:
    """One choice of parameters and its scores."""

    parameters: Clustering
    #: Only at IoU .5 and .75.
    summary: Summary

    @property
    def objective(self) -> float:
        """The mean of AP at .5 and .75, pooled and per image."""
        return sum(rates.ap for rates in (*self.summary.pooled, *self.summary.mean)) / 4


@dataclass(frozen=True)
class Tuning:
    """The trial with the initial parameters, the best trial, and the full evaluation of the best."""

    before: Trial
    after: Trial
    evaluation: Evaluation


class SegmenterReader:
    """A `Segmenter` with a job's options, in steps; with `parameters` the result is that of `Segmenter.segment`."""

    def __init__(
        self, segmenter: Segmenter, tta: bool = False, diameter: float | None = None, bounds: Bounds = Bounds()
    ) -> None:
        """Raises `InvalidDiameter`."""
        self._segmenter, self._tta, self._diameter, self._bounds = segmenter, tta, diameter, bounds
        #: The model's clustering parameters, for images whose objects have `diameter`.
        self.parameters = clustering_parameters(segmenter.spec, diameter=diameter)

    def embed(self, pixels: Pixels) -> bytes:
        """Run the network: (H, W, C) pixels → packed fields. Raises the errors of `Segmenter.fields`."""
        return self._segmenter.fields(pixels, tta=self._tta, diameter=self._diameter, bounds=self._bounds)

    def unpack(self, packed: bytes) -> Foreground:
        """Packed fields → the foreground's fields."""
        return unpack(packed)

    def read(self, fields: Foreground, parameters: Clustering) -> Labels:
        """Cluster the fields with these parameters → (H, W) labels."""
        return cluster(fields, parameters)[0]


class FieldCache:
    """The packed fields of a data set's images, in files; iteration has one image in memory at a time."""

    def __init__(self, data: Sequence[Pair], reader: SegmenterReader, folder: Path, progress: Progress) -> None:
        """Runs the network on every image of `data`, and writes the fields to `folder`."""
        self.reader, self._pairs, self._folder = reader, data, folder
        areas: list[NDArray[np.integer[Any]]] = []
        #: Time that the network took for all images.
        self.seconds = 0.0
        for number, pair in enumerate(progress(data, "network", len(data))):
            pixels, truth = pair.read()
            start = time.perf_counter()
            packed = reader.embed(pixels)
            self.seconds += time.perf_counter() - start
            self._file(number).write_bytes(packed)
            areas.append(np.unique(truth[truth != 0], return_counts=True)[1])
        #: (N,) areas of all true objects, pixels.
        self.areas = np.concatenate(areas)

    def __len__(self) -> int:
        return len(self._pairs)

    def __iter__(self) -> Iterator[tuple[str, bytes, Labels]]:
        """Each image's name, packed fields and (H, W) true labels."""
        for number, pair in enumerate(self._pairs):
            yield pair.name, self._file(number).read_bytes(), pair.read_labels()

    def _file(self, number: int) -> Path:
        return self._folder / f"{number}.fields"


def tune(cache: FieldCache, start: Clustering, progress: Progress) -> Tuning:
    """Search both grids for the best parameters; `start` is among the trials, and its `min_unclustered` is kept.

    Among equally good parameters the most central win: there the result depends least on them.
    """
    thresholds, sizes = coarse_grid(start, cache.areas)
    coarse = _run_trials(cache, _combinations(start, thresholds, sizes), progress, "coarse grid")
    best = choose(coarse).parameters
    fine = _combinations(start, *fine_grid(best, thresholds, sizes))
    known = {trial.parameters for trial in coarse}
    trials = coarse + _run_trials(cache, [p for p in fine if p not in known], progress, "fine grid")
    before = next(trial for trial in trials if trial.parameters == start)
    after = choose(trials)
    return Tuning(before, after, _evaluate(cache, after.parameters))


def coarse_grid(start: Clustering, areas: NDArray[np.integer[Any]]) -> tuple[list[float], list[int]]:
    """Seed thresholds and minimum sizes to try for objects of `areas` (N,) pixels; both include those of `start`."""
    limit = max(float(np.quantile(areas, _DROPPED_SHARE)) if len(areas) else 0.0, MIN_PIXELS[4])
    sizes = {pixels for pixels in MIN_PIXELS if pixels <= limit} | {start.min_pixels}
    return sorted({*SEED_THRESHOLDS, start.seed_threshold}), sorted(sizes)


def fine_grid(best: Clustering, thresholds: Sequence[float], sizes: Sequence[int]) -> tuple[list[float], list[int]]:
    """Seed thresholds and minimum sizes between the coarse neighbours below and above the best."""
    low, high = _neighbours(best.seed_threshold, thresholds)
    smallest, largest = _neighbours(best.min_pixels, sizes)
    fine = {round(float(value), 3) for value in np.linspace(low, high, _FINE)}
    pixels = {round(float(value)) for value in np.linspace(smallest, largest, _FINE)}
    return sorted(fine | {best.seed_threshold}), sorted(pixels | {best.min_pixels})


def choose(trials: Sequence[Trial]) -> Trial:
    """The trial of the highest objective; of several, the most central one. Raises `ValueError` without trials."""
    highest = max(trial.objective for trial in trials)
    ties = [trial for trial in trials if trial.objective > highest - _TOLERANCE]
    thresholds = sorted({trial.parameters.seed_threshold for trial in ties})
    sizes = sorted({trial.parameters.min_pixels for trial in ties})

    def distance_from_centre(trial: Trial) -> tuple[float, float]:
        steps = (
            abs(thresholds.index(trial.parameters.seed_threshold) - (len(thresholds) - 1) / 2),
            abs(sizes.index(trial.parameters.min_pixels) - (len(sizes) - 1) / 2),
        )
        return sum(steps), max(steps)

    return min(ties, key=distance_from_centre)


def _neighbours(value: float, values: Sequence[Any]) -> tuple[Any, Any]:
    """The values before and after one of the sorted `values`; itself at an end."""
    index = bisect(values, value) - 1
    return values[max(index - 1, 0)], values[min(index + 1, len(values) - 1)]


def _combinations(start: Clustering, thresholds: Sequence[float], sizes: Sequence[int]) -> list[Clustering]:
    return [replace(start, seed_threshold=threshold, min_pixels=size) for threshold, size in product(thresholds, sizes)]


def _run_trials(cache: FieldCache, choices: Sequence[Clustering], progress: Progress, step: str) -> list[Trial]:
    """Score every choice on every image; each image's fields are unpacked once."""
    scores: list[list[ImageScore]] = [[] for _ in choices]
    for _, packed, truth in progress(cache, step, len(cache)):
        fields = cache.reader.unpack(packed)
        for choice, images in zip(choices, scores, strict=True):
            images.append(score(truth, cache.reader.read(fields, choice), _SCORED))
    return [Trial(choice, summarise(images)) for choice, images in zip(choices, scores, strict=True) if images]


def _evaluate(cache: FieldCache, parameters: Clustering) -> Evaluation:
    """The full scores of one choice, and the seconds that network and clustering take."""
    images, seconds = {}, cache.seconds
    for name, packed, truth in cache:
        start = time.perf_counter()
        predicted = cache.reader.read(cache.reader.unpack(packed), parameters)
        seconds += time.perf_counter() - start
        images[name] = score(truth, predicted, THRESHOLDS)
    return Evaluation(summarise(list(images.values())), images, seconds)
