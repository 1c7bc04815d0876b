"""The tables of `maskq evaluate`. Imports the evaluation, so commands import this module inside a function."""

from collections.abc import Iterable
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.progress import track
from rich.text import Text

from maskq.segmentation.evaluation.metrics import Rates
from maskq.segmentation.evaluation.scores import Evaluation, at_threshold, average_precisions, image_row, mean_ap
from maskq.segmentation.evaluation.tuning import Trial, Tuning
from maskq.segmentation.models.spec import SPEC
from maskq.segmentation.models.storage import Location

from .terminal import PlainTable, PrintableConsole

# Without markup and emoji: the names of images and folders may be `img[a]`, `[/b]` or `:cat:`.
stdout = PrintableConsole(highlight=False, markup=False, emoji=False)
stderr = PrintableConsole(stderr=True, highlight=False, markup=False, emoji=False)

#: Number of images in the table by default.
_WORST = 10
_AT_HALF = {"precision": "precision", "recall": "recall", "F1": "f1", "panoptic quality": "panoptic_quality"}


def progress(items: Iterable[Any], step: str, count: int) -> Iterable[Any]:
    """Wrap an iterable to show a progress bar on standard error, if that is a terminal."""
    return track(items, step, count, console=stderr, disable=not stderr.is_terminal)


def show(results: dict[str, Evaluation], tuning: Tuning | None = None, all_images: bool = False) -> None:
    """Print the images of the first method, the rates of all methods, and the gain from tuning."""
    name, first = next(iter(results.items()))
    stdout.show(_image_table(name, first, all_images))
    if not all_images and len(first.images) > _WORST:
        stdout.print(f"the worst {_WORST} of {len(first.images)} images; --all shows every one, and --json has them\n")
    stdout.show(_rate_table(results))
    for method, result in results.items():
        summary = result.summary
        seconds = result.seconds / summary.images
        stdout.print(
            f"{method}: {summary.images} images, {summary.truths} objects, {summary.found} found; "
            f"count wrong by {summary.count_error:.2f} objects an image; {seconds:.3f} s an image"
        )
    if tuning:
        stdout.show(_tuning_table(tuning))


def show_stored(folder: Location | None) -> None:
    """Print where the tuned parameters are stored; None means that they are not."""
    if folder:
        stdout.print(f"stored in {folder / SPEC}")
    else:
        stdout.print("not stored: a model keeps only parameters chosen without --tta and --diameter; set these per job")


def as_dict(tuning: Tuning) -> dict[str, Any]:
    """JSON-ready: the parameters before and after tuning, each with its scores."""
    return {"before": _trial(tuning.before), "after": _trial(tuning.after)}


def _trial(trial: Trial) -> dict[str, Any]:
    return {
        "seed_threshold": trial.parameters.seed_threshold,
        "min_pixels": trial.parameters.min_pixels,
        "objective": trial.objective,
        **average_precisions(trial.summary),
    }


def _image_table(name: str, result: Evaluation, all_images: bool) -> PlainTable:
    """One row per image, the worst first."""
    title = f"{name}, image by image, worst first; precision to PQ at IoU .5"
    table = PlainTable(title=Text(title), box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("image", overflow="fold")
    for column in ("AP50", "AP75", "precision", "recall", "F1", "PQ", "true", "found", "off"):
        table.add_column(column, justify="right", no_wrap=True)
    for image in result.worst[: None if all_images else _WORST]:
        row = image_row(image, result.images[image])
        rates = [f"{row[key]:.3f}" for key in ("ap50", "ap75", "precision", "recall", "f1", "pq")]
        table.add_row(image, *rates, str(row["truths"]), str(row["found"]), f"{row['count_error']:+}")
    return table


def _rate_table(results: dict[str, Evaluation]) -> PlainTable:
    """AP by threshold and the rates at .5; two columns per method."""
    table = PlainTable("IoU", title="average precision TP / (TP + FP + FN)")
    for name in results:
        table.add_column(f"{name}\npooled", justify="right")
        table.add_column(f"{name}\nper image", justify="right")
    ways = [way for result in results.values() for way in (result.summary.pooled, result.summary.mean)]
    for number, rates in enumerate(ways[0]):
        table.add_row(f"{rates.threshold:.2f}", *(f"{way[number].ap:.3f}" for way in ways))
    table.add_row("mean", *(f"{mean_ap(way):.3f}" for way in ways), end_section=True)
    for title, rate in _AT_HALF.items():
        table.add_row(f"{title} at .5", *(f"{_rate(way, rate):.3f}" for way in ways))
    return table


def _rate(way: tuple[Rates, ...], rate: str) -> float:
    return float(getattr(at_threshold(way, 0.5), rate))


def _tuning_table(tuning: Tuning) -> PlainTable:
    """The parameters and scores before and after tuning."""
    table = PlainTable("", "seed_threshold", "min_pixels", title="parameters, and AP pooled / per image")
    for column in ("AP50", "AP75", "mean of the four"):
        table.add_column(column, justify="right")
    for title, trial in (("before", tuning.before), ("after", tuning.after)):
        row = _trial(trial)
        pairs = [f"{row[key]['pooled']:.3f} / {row[key]['per_image']:.3f}" for key in ("ap50", "ap75")]
        table.add_row(title, f"{row['seed_threshold']:g}", str(row["min_pixels"]), *pairs, f"{trial.objective:.4f}")
    return table
