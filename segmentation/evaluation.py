"""Methods on labelled images: their scores."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from .clustering import Labels
from .dataset import Pair
from .images import Pixels, decode
from .metrics import ImageScore, Summary, score, summarise

#: (H, W, C) pixels → labels (H, W).
Method = Callable[[Pixels], Labels]


@dataclass(frozen=True)
class Evaluation:
    """One method's scores."""

    summary: Summary
    images: dict[str, ImageScore]
    seconds: float

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready: the summary, and AP at .5 and the counts of every image."""
        each = {
            name: {"ap50": found.matches[0].rates().ap, "truths": found.truths, "found": found.found}
            for name, found in self.images.items()
        }
        return {"seconds": round(self.seconds, 3), "summary": asdict(self.summary), "images": each}


def evaluate_with(methods: Mapping[str, Method], data: Iterable[Pair]) -> dict[str, Evaluation]:
    """Run every method on every image, reading each once."""
    scores: dict[str, dict[str, ImageScore]] = {name: {} for name in methods}
    seconds = dict.fromkeys(methods, 0.0)
    for pair in data:
        pixels, truth = decode(pair.image.read_bytes(), pair.name), pair.read_labels()
        for name, method in methods.items():
            began = time.perf_counter()
            found = method(pixels)
            seconds[name] += time.perf_counter() - began
            scores[name][pair.name] = score(truth, np.asarray(found, np.int32))
    return {n: Evaluation(summarise(list(found.values())), found, seconds[n]) for n, found in scores.items()}
