"""What `maskq evaluate` does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import track
from rich.table import Table

from .. import model as models_
from ..dataset import pairs
from ..errors import SegmentationError

console = Console()
stderr = Console(stderr=True, highlight=False)


class UnknownBaseline(SegmentationError):
    """There is no baseline of that name."""


def evaluate(
    data: Path, model: str, folders: tuple[Path, ...], split: str | None, baseline: str | None, as_json: bool
) -> int:
    """Score a model on labelled images, and a baseline beside it."""
    from ..baseline import otsu_watershed
    from ..evaluation import Evaluation, evaluate_with
    from ..inputs import to_input
    from ..segmenter import Segmenter

    if baseline not in (None, "otsu"):
        raise UnknownBaseline(f"no baseline {baseline!r}; there is: otsu")
    segmenter = Segmenter.load(models_.find(model, folders))
    methods = {f"{segmenter.spec.name}@{segmenter.spec.version}": lambda pixels: segmenter.segment(pixels)[0]}
    if baseline:
        methods["otsu"] = lambda pixels: otsu_watershed(to_input(pixels, "grey", "percentile")[0])
    found = list(pairs(data, split))
    watched = track(found, "evaluating", console=stderr, disable=as_json)
    results: dict[str, Evaluation] = evaluate_with(methods, watched)
    if as_json:
        for name, result in results.items():
            print(json.dumps({"method": name, "split": split} | result.as_dict()))
    else:
        _show(results)
    return 0


def _show(results: dict[str, Any]) -> None:
    """AP by threshold, the methods side by side."""
    table = Table("IoU", title="average precision TP / (TP + FP + FN)")
    for name in results:
        table.add_column(f"{name}\npooled", justify="right")
        table.add_column(f"{name}\nper image", justify="right")
    summaries = [result.summary for result in results.values()]
    for place, rates in enumerate(summaries[0].pooled):
        row = [value for s in summaries for value in (s.pooled[place].ap, s.mean[place].ap)]
        table.add_row(f"{rates.threshold:.2f}", *(f"{value:.3f}" for value in row))
    console.print(table)
    for name, result in results.items():
        s = result.summary
        console.print(
            f"{name}: {s.images} images, {s.truths} objects, {s.found} found; at IoU .5 precision "
            f"{s.pooled[0].precision:.3f}, recall {s.pooled[0].recall:.3f}, PQ {s.pooled[0].panoptic_quality:.3f}"
        )
