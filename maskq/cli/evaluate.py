"""What `maskq evaluate` does."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, get_args

from rich.progress import track

from maskq.segmentation import torch_devices as hardware
from maskq.segmentation.clustering.cluster import Clustering
from maskq.segmentation.dataset import INDEX, SPLITS, Pair, pairs
from maskq.segmentation.errors import SegmentationError
from maskq.segmentation.evaluation.baseline import otsu_watershed
from maskq.segmentation.evaluation.parameters import check_writable, store
from maskq.segmentation.evaluation.reading import SegmenterReader
from maskq.segmentation.evaluation.scores import Evaluation, Method, evaluate_with, picture_worst
from maskq.segmentation.evaluation.tuning import Kept, Tuning, tune
from maskq.segmentation.models.registry import find
from maskq.segmentation.models.storage import Location
from maskq.segmentation.network.preprocessing import to_input
from maskq.segmentation.network.tiling import Bounds
from maskq.segmentation.segmenter import Precision, Segmenter

from . import report


class UnknownBaseline(SegmentationError):
    """There is no baseline of that name."""


class UnknownPrecision(SegmentationError):
    """Networks do not compute in anything of that name."""


@dataclass(frozen=True)
class Request:
    """What of the model's run is asked for, and shown with the figures."""

    data: Path
    #: The model's folder.
    folder: Location
    split: str | None
    device: str
    precision: Precision
    tta: bool
    diameter: float | None

    @property
    def plain(self) -> bool:
        """Whether the model runs as it does for a job without options."""
        return not self.tta and self.diameter is None


def evaluate(
    data: Path,
    model: str,
    folders: Iterable[str | Path],
    split: str | None,
    index: Path | None,
    baseline: str | None,
    tta: bool,
    diameter: float | None,
    tune: bool,
    pictures: Path | None,
    worst: int,
    every: bool,
    device: str,
    precision: Precision,
    as_json: bool,
    tile_pixels: int,
    max_pixels: int,
) -> int:
    """Score a model on labelled images, and a baseline beside it; with `tune`, choose its parameters first."""
    if baseline not in (None, "otsu"):
        raise UnknownBaseline(f"no baseline {baseline!r}; there is: otsu")
    if precision not in get_args(Precision):
        raise UnknownPrecision(f"no precision {precision!r}; there are: {', '.join(get_args(Precision))}")
    asked = Request(data, find(model, folders), split, device, precision, tta, diameter)
    found = pairs(data, split, index or _models_own_split(asked))
    if tune and asked.plain:
        check_writable(asked.folder)
    segmenter = _load(asked)
    reader = SegmenterReader(segmenter, tta, diameter, Bounds(tile_pixels, max_pixels))
    tuning = _tune(asked, reader, found) if tune else None
    parameters = tuning.after.parameters if tuning else reader.parameters
    label = segmenter.spec.ref
    methods = _methods(label, reader, parameters, baseline)
    results = _results(methods, found, label, tuning)
    if as_json:
        _print_json(asked, label, parameters, results, tuning)
    else:
        report.show(results, tuning, every)
        if tuning:
            report.show_stored(asked.folder if asked.plain else None)
    if pictures is not None:
        picture_worst(results[label], methods[label], found, pictures, worst)
        report.stderr.print(f"pictures of the worst images: {pictures}")
    return 0


def _models_own_split(asked: Request) -> Path | None:
    """The model's `split.csv`, where a split is wanted of data without an index of its own."""
    own = asked.folder / SPLITS
    wanted = asked.split is not None and not (asked.data / INDEX).is_file()
    return own if wanted and isinstance(own, Path) and own.is_file() else None


def _load(asked: Request) -> Segmenter:
    return Segmenter.load(asked.folder, str(hardware.device(asked.device)), asked.precision)


def _methods(label: str, reader: SegmenterReader, parameters: Clustering, baseline: str | None) -> dict[str, Method]:
    """The model's way from pixels to labels, by its name and version, and the baseline's."""
    methods: dict[str, Method] = {label: lambda pixels: reader.read(reader.unpack(reader.embed(pixels)), parameters)}
    if baseline:
        methods["otsu"] = lambda pixels: otsu_watershed(to_input(pixels, "grey", "percentile")[0])
    return methods


def _results(methods: dict[str, Method], data: list[Pair], label: str, tuning: Tuning | None) -> dict[str, Evaluation]:
    """Every method's evaluation; a tuned model has its own already, and the network need not run again."""
    if tuning is None:
        return evaluate_with(methods, _watch(data, "evaluating", len(data)))
    others = {name: method for name, method in methods.items() if name != label}
    return {label: tuning.evaluation} | (evaluate_with(others, data) if others else {})


def _tune(asked: Request, reader: SegmenterReader, data: list[Pair]) -> Tuning:
    """Choose the parameters, and store them with the model if it ran as it does for a job without options."""
    with TemporaryDirectory(prefix="maskq-") as folder:
        tuning = tune(Kept(data, reader, Path(folder), _watch), reader.parameters, _watch)
    if asked.plain:
        store(check_writable(asked.folder), tuning.after.parameters)
    return tuning


def _print_json(
    asked: Request, label: str, parameters: Clustering, results: dict[str, Evaluation], tuning: Tuning | None
) -> None:
    """One object a method."""
    ran = {"tta": asked.tta, "diameter": asked.diameter, "device": asked.device, "precision": asked.precision}
    used = asdict(parameters) | ran
    for name, result in results.items():
        ours = name == label
        head: dict[str, Any] = {"method": name, "split": asked.split, "parameters": used if ours else {}}
        if ours and tuning:
            head["tuning"] = report.as_dict(tuning) | {"stored": str(asked.folder) if asked.plain else None}
        print(json.dumps(head | result.as_dict()))


def _watch(items: Iterable[Any], what: str, count: int) -> Iterable[Any]:
    """A progress bar on stderr, where that is a terminal."""
    return track(items, what, count, console=report.stderr, disable=not report.stderr.is_terminal)
