"""Scores as people read them: tables on the terminal."""

from __future__ import annotations

from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from maskq.segmentation.evaluation.metrics import Rates
from maskq.segmentation.evaluation.scores import Evaluation, aps, at, entry, mean_ap
from maskq.segmentation.evaluation.tuning import Trial, Tuning
from maskq.segmentation.models.spec import SPEC
from maskq.segmentation.models.storage import Location

# Without markup and emoji: images and folders may be named `img[a]`, `[/b]` or `:cat:`.
console = Console(highlight=False, markup=False, emoji=False)
stderr = Console(stderr=True, highlight=False, markup=False, emoji=False)

#: Images in the table, unless every one is asked for.
_WORST = 10
_AT_HALF = {"precision": "precision", "recall": "recall", "F1": "f1", "panoptic quality": "panoptic_quality"}


def show(results: dict[str, Evaluation], tuning: Tuning | None = None, every: bool = False) -> None:
    """The first method's images, all methods' rates side by side, and what tuning has gained."""
    name, first = next(iter(results.items()))
    console.print(_images(name, first, every))
    if not every and len(first.images) > _WORST:
        console.print(f"the worst {_WORST} of {len(first.images)} images; --all shows every one, and --json has them\n")
    console.print(_rates(results))
    for method, result in results.items():
        summary = result.summary
        each = result.seconds / summary.images
        console.print(
            f"{method}: {summary.images} images, {summary.truths} objects, {summary.found} found; "
            f"count wrong by {summary.count_error:.2f} objects an image; {each:.3f} s an image"
        )
    if tuning:
        console.print(_tuned(tuning))


def show_stored(folder: Location | None) -> None:
    """Where the parameters went."""
    if folder:
        console.print(f"stored in {folder / SPEC}")
    else:
        console.print("not stored: only what is best without --tta and --diameter is; give these to jobs as options")


def as_dict(tuning: Tuning) -> dict[str, Any]:
    """JSON-ready: the parameters before and after, and what each gives."""
    return {"before": _trial(tuning.before), "after": _trial(tuning.after)}


def _trial(trial: Trial) -> dict[str, Any]:
    return {
        "seed_threshold": trial.parameters.seed_threshold,
        "min_pixels": trial.parameters.min_pixels,
        "objective": trial.objective,
        **aps(trial.summary),
    }


def _images(name: str, result: Evaluation, every: bool) -> Table:
    """An image a row, the worst first."""
    title = f"{name}, image by image, worst first; precision to PQ at IoU .5"
    table = Table(title=title, box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("image", overflow="fold")
    for column in ("AP50", "AP75", "precision", "recall", "F1", "PQ", "true", "found", "off"):
        table.add_column(column, justify="right", no_wrap=True)
    for image in result.worst[: None if every else _WORST]:
        row = entry(image, result.images[image])
        rates = [f"{row[key]:.3f}" for key in ("ap50", "ap75", "precision", "recall", "f1", "pq")]
        table.add_row(image, *rates, str(row["truths"]), str(row["found"]), f"{row['count_error']:+}")
    return table


def _rates(results: dict[str, Evaluation]) -> Table:
    """AP by threshold and the rates at .5, the methods side by side."""
    table = Table("IoU", title="average precision TP / (TP + FP + FN)")
    for name in results:
        table.add_column(f"{name}\npooled", justify="right")
        table.add_column(f"{name}\nper image", justify="right")
    ways = [way for result in results.values() for way in (result.summary.pooled, result.summary.mean)]
    for place, rates in enumerate(ways[0]):
        table.add_row(f"{rates.threshold:.2f}", *(f"{way[place].ap:.3f}" for way in ways))
    table.add_row("mean", *(f"{mean_ap(way):.3f}" for way in ways), end_section=True)
    for title, rate in _AT_HALF.items():
        table.add_row(f"{title} at .5", *(f"{_rate(way, rate):.3f}" for way in ways))
    return table


def _rate(way: tuple[Rates, ...], rate: str) -> float:
    return float(getattr(at(way, 0.5), rate))


def _tuned(tuning: Tuning) -> Table:
    """Before and after."""
    table = Table("", "seed_threshold", "min_pixels", title="parameters, and AP pooled / per image")
    for column in ("AP50", "AP75", "mean of the four"):
        table.add_column(column, justify="right")
    for title, trial in (("before", tuning.before), ("after", tuning.after)):
        row = _trial(trial)
        pairs = [f"{row[key]['pooled']:.3f} / {row[key]['per_image']:.3f}" for key in ("ap50", "ap75")]
        table.add_row(title, f"{row['seed_threshold']:g}", str(row["min_pixels"]), *pairs, f"{trial.objective:.4f}")
    return table
