"""`maskq evaluate`."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .labelled import Channel, check_labels, tell, with_channel
from .options import Diameter, Json, Model, Tta, read_settings
from .writable import expanded, output_folder

if TYPE_CHECKING:
    from maskq.segmentation.evaluation.evaluated_model import EvaluatedModel
    from maskq.segmentation.evaluation.scores import Evaluation
    from maskq.segmentation.evaluation.tuning import Tuning

app = typer.Typer()


@app.command()
def evaluate(
    data: Annotated[
        Path, typer.Argument(callback=expanded, help="Folder with images/ and labels/, and index.csv if it has splits.")
    ],
    name: Model = "nuclei",
    split: Annotated[str | None, typer.Option(help="Evaluate only this split of the index.")] = None,
    index: Annotated[
        Path | None,
        typer.Option(
            callback=expanded,
            help="CSV file with columns id and split; default: DATA/index.csv, else the model's split.csv.",
        ),
    ] = None,
    baseline: Annotated[str | None, typer.Option(help="Also evaluate otsu: threshold and watershed.")] = None,
    tta: Tta = False,
    diameter: Diameter = None,
    tune: Annotated[
        bool, typer.Option("--tune", help="Choose seed_threshold and min_pixels on this data; store them in the model.")
    ] = False,
    pictures: Annotated[
        Path | None, typer.Option(callback=output_folder, help="Folder for pictures of the errors in the worst images.")
    ] = None,
    worst: Annotated[int, typer.Option(min=1, help="Number of pictures.")] = 10,
    all_images: Annotated[bool, typer.Option("--all", help="Show all images, not only the worst ten.")] = False,
    channel: Channel = None,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    precision: Annotated[str, typer.Option(help="Number format of the network: fp32, bf16 or fp16.")] = "fp32",
    as_json: Json = False,
) -> None:
    """Score a model on labelled images: AP at IoU .5 to .95, per image, as the mean over images, and pooled."""
    from maskq.segmentation.dataset import pairs
    from maskq.segmentation.evaluation.evaluated_model import EvaluatedModel, RunOptions, baseline_methods, model_index
    from maskq.segmentation.evaluation.scores import write_worst_pictures
    from maskq.segmentation.models.registry import find
    from maskq.segmentation.network.tiling import Bounds

    from . import report

    settings = read_settings()
    baselines, options = baseline_methods(baseline), RunOptions(tta, diameter, device, precision)
    folder = find(name, settings.model_folders)
    images = pairs(data, split, index or (model_index(folder, data) if split else None), tell)
    images = with_channel(images, channel)
    check_labels(images, with_images=True)
    model = EvaluatedModel(folder, options, Bounds(settings.tile_pixels, settings.max_pixels))
    tuning = model.tune(images, report.progress) if tune else None
    results = model.evaluate(images, baselines, report.progress, tuning)
    if as_json:
        _print_json(model, split, results, tuning)
    else:
        report.show(results, tuning, all_images)
        if tuning:
            report.show_stored(folder if options.default else None)
    if pictures is not None:
        write_worst_pictures(results[model.ref], model.segment, images, pictures, worst)
        report.stderr.print(f"pictures of the worst images: {pictures}")


def _print_json(
    model: EvaluatedModel, split: str | None, results: dict[str, Evaluation], tuning: Tuning | None
) -> None:
    """Print one object per method."""
    from . import report

    for method, result in results.items():
        head: dict[str, Any] = {"method": method, "split": split, "parameters": {}}
        if method == model.ref:
            head["parameters"] = asdict(model.parameters) | asdict(model.options)
            if tuning:
                stored = str(model.folder) if model.options.default else None
                head["tuning"] = report.as_dict(tuning) | {"stored": stored}
        print(json.dumps(head | result.as_dict()))
