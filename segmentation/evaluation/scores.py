"""Score methods on labelled images, and draw the images on which they err most."""

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

#: (H, W, C) pixels → (H, W) labels.
Method = Callable[[Pixels], Labels]

#: Key in the JSON output → field of `Rates`.
_RATES = {"precision": "precision", "recall": "recall", "f1": "f1", "pq": "panoptic_quality"}
_Level = TypeVar("_Level", Rates, Matches)


@dataclass(frozen=True)
class Evaluation:
    """One method's scores."""

    summary: Summary
    #: By the images' names.
    images: dict[str, ImageScore]
    #: Time that the method took for all images, without reading and scoring them.
    seconds: float

    @property
    def worst(self) -> list[str]:
        """The images' names: lowest AP at .5 first, then lowest at .75, then by name."""
        return sorted(self.images, key=lambda name: (*(_ap(self.images[name], iou) for iou in (0.5, 0.75)), name))

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready: AP at .5, at .75 and its mean over .5 to .95, the rates at .5, the full tables, every image."""
        pooled, mean = self.summary.pooled, self.summary.mean
        half = {"pooled": asdict(at_threshold(pooled, 0.5)), "per_image": asdict(at_threshold(mean, 0.5))}
        return {
            "seconds": round(self.seconds, 3),
            **average_precisions(self.summary),
            "map": {"pooled": mean_ap(pooled), "per_image": mean_ap(mean)},
            **{short: {way: rates[name] for way, rates in half.items()} for short, name in _RATES.items()},
            "count_error": self.summary.count_error,
            "summary": asdict(self.summary),
            "images": {name: image_row(name, self.images[name]) for name in self.worst},
        }


def at_threshold(levels: Sequence[_Level], threshold: float) -> _Level:
    """The rates or matches at one IoU threshold. Raises `ValueError` if nothing was scored at it."""
    for level in levels:
        if math.isclose(level.threshold, threshold):
            return level
    raise ValueError(f"nothing was scored at an IoU of {threshold}")


def average_precisions(summary: Summary) -> dict[str, dict[str, float]]:
    """AP at .5 and .75, pooled and as the mean over images, with the keys of the JSON output."""
    ways = {"pooled": summary.pooled, "per_image": summary.mean}
    return {
        f"ap{percent}": {way: at_threshold(rates, percent / 100).ap for way, rates in ways.items()}
        for percent in (50, 75)
    }


def mean_ap(rates: Sequence[Rates]) -> float:
    """AP averaged over the thresholds."""
    return sum(rate.ap for rate in rates) / len(rates)


def image_row(name: str, image: ImageScore) -> dict[str, Any]:
    """One image's row of the table: AP at .5 and .75, the other rates at .5, and object counts."""
    half = at_threshold(image.matches, 0.5).rates()
    return {
        "name": name,
        "ap50": half.ap,
        "ap75": _ap(image, 0.75),
        **{short: getattr(half, name) for short, name in _RATES.items()},
        "truths": image.truths,
        "found": image.found,
        "count_error": image.count_error,
    }


def evaluate_with(methods: Mapping[str, Method], data: Iterable[Pair]) -> dict[str, Evaluation]:
    """Run every method on every image; each image is read once, one at a time. Raises the errors of `Pair.read`."""
    scores: dict[str, dict[str, ImageScore]] = {name: {} for name in methods}
    seconds = dict.fromkeys(methods, 0.0)
    for pair in data:
        pixels, truth = pair.read()
        for name, method in methods.items():
            start = time.perf_counter()
            predicted = method(pixels)
            seconds[name] += time.perf_counter() - start
            scores[name][pair.name] = score(truth, np.asarray(predicted, np.int32))
    return {n: Evaluation(summarise(list(images.values())), images, seconds[n]) for n, images in scores.items()}


def write_worst_pictures(
    evaluation: Evaluation, method: Method, data: Iterable[Pair], folder: Path, count: int
) -> list[Path]:
    """Draw the `count` images of the lowest AP at .5 as PNG files, named by rank; deletes those of an earlier call.

    Each image is segmented again, so that only one is in memory. Raises the errors of `Pair.read`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("[0-9][0-9]*-*-ap50-[01].[0-9][0-9].png"):
        old.unlink()
    pairs = {pair.name: pair for pair in data}
    paths = []
    for rank, name in enumerate(evaluation.worst[:count], 1):
        pixels, truth = pairs[name].read()
        predicted = np.asarray(method(pixels), np.int32)
        ap50 = f"{_ap(evaluation.images[name], 0.5):.2f}"
        paths.append(folder / f"{rank:02}-{name}-ap50-{ap50}.png")
        Image.fromarray(compare(pixels, truth, predicted, f"{name}  AP50 {ap50}")).save(paths[-1])
    return paths


def _ap(image: ImageScore, threshold: float) -> float:
    return at_threshold(image.matches, threshold).rates().ap
