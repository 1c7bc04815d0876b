"""Methods on labelled images: their scores, and pictures of where they err."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from PIL import Image

from ..arrays import Labels, Pixels
from ..dataset import Pair
from .comparison import compare
from .metrics import ImageScore, Matches, Rates, Summary, score, summarise

#: (H, W, C) pixels → labels (H, W).
Method = Callable[[Pixels], Labels]

_Level = TypeVar("_Level", Rates, Matches)


@dataclass(frozen=True)
class Evaluation:
    """One method's scores."""

    summary: Summary
    #: By the images' names.
    images: dict[str, ImageScore]
    #: That the method took for all images, without reading and scoring them.
    seconds: float

    @property
    def worst(self) -> list[str]:
        """The images' names: the least AP at .5 first, then the least at .75, then by name."""
        return sorted(self.images, key=lambda name: (*(_ap(self.images[name], iou) for iou in (0.5, 0.75)), name))

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready: AP at .5, at .75 and its mean over .5 to .95, the rates at .5, the full tables, every image."""
        pooled, mean = self.summary.pooled, self.summary.mean
        half = {"pooled": asdict(at(pooled, 0.5)), "per_image": asdict(at(mean, 0.5))}
        rates = {"precision": "precision", "recall": "recall", "f1": "f1", "pq": "panoptic_quality"}
        return {
            "seconds": round(self.seconds, 3),
            **aps(self.summary),
            "map": {"pooled": mean_ap(pooled), "per_image": mean_ap(mean)},
            **{short: {way: found[name] for way, found in half.items()} for short, name in rates.items()},
            "count_error": self.summary.count_error,
            "summary": asdict(self.summary),
            "images": {name: entry(name, self.images[name]) for name in self.worst},
        }


def at(levels: Sequence[_Level], threshold: float) -> _Level:
    """The rates or matches at one IoU threshold. Raises `ValueError` where they were not taken."""
    for each in levels:
        if math.isclose(each.threshold, threshold):
            return each
    raise ValueError(f"nothing was scored at an IoU of {threshold}")


def aps(summary: Summary) -> dict[str, dict[str, float]]:
    """AP at .5 and .75, pooled and as the mean over images, as JSON names them."""
    ways = {"pooled": summary.pooled, "per_image": summary.mean}
    return {f"ap{percent}": {way: at(rates, percent / 100).ap for way, rates in ways.items()} for percent in (50, 75)}


def mean_ap(rates: Sequence[Rates]) -> float:
    """AP averaged over the thresholds."""
    return sum(each.ap for each in rates) / len(rates)


def entry(name: str, image: ImageScore) -> dict[str, Any]:
    """One image's row: AP at .5 and .75, the other rates at .5, and objects counted."""
    half = at(image.matches, 0.5).rates()
    return {
        "name": name,
        "ap50": half.ap,
        "ap75": _ap(image, 0.75),
        "precision": half.precision,
        "recall": half.recall,
        "f1": half.f1,
        "pq": half.panoptic_quality,
        "truths": image.truths,
        "found": image.found,
        "count_error": image.count_error,
    }


def evaluate_with(methods: Mapping[str, Method], data: Iterable[Pair]) -> dict[str, Evaluation]:
    """Run every method on every image, one image after another, reading each once. Raises as `Pair.read` does."""
    scores: dict[str, dict[str, ImageScore]] = {name: {} for name in methods}
    seconds = dict.fromkeys(methods, 0.0)
    for pair in data:
        pixels, truth = pair.read()
        for name, method in methods.items():
            began = time.perf_counter()
            found = method(pixels)
            seconds[name] += time.perf_counter() - began
            scores[name][pair.name] = score(truth, np.asarray(found, np.int32))
    return {n: Evaluation(summarise(list(found.values())), found, seconds[n]) for n, found in scores.items()}


def picture_worst(evaluation: Evaluation, method: Method, data: Iterable[Pair], folder: Path, count: int) -> list[Path]:
    """A PNG for each of the `count` images with the least AP at .5, named by rank; those of an earlier time are gone.

    The images are segmented once more, so that no more than one is in memory. Raises as `Pair.read` does.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("[0-9][0-9]*-*-ap50-[01].[0-9][0-9].png"):
        old.unlink()
    pairs = {pair.name: pair for pair in data}
    written = []
    for rank, name in enumerate(evaluation.worst[:count], 1):
        pixels, truth = pairs[name].read()
        found = np.asarray(method(pixels), np.int32)
        ap50 = f"{_ap(evaluation.images[name], 0.5):.2f}"
        written.append(folder / f"{rank:02}-{name}-ap50-{ap50}.png")
        Image.fromarray(compare(pixels, truth, found, f"{name}  AP50 {ap50}")).save(written[-1])
    return written


def _ap(image: ImageScore, threshold: float) -> float:
    return at(image.matches, threshold).rates().ap
