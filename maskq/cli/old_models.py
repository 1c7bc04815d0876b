"""Models: `maskq models …`, `evaluate`, `train`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .calling import call, model_folders, settings
from .options import Diameter, Json, MinPixels, Model, SeedThreshold, Tta

app = typer.Typer()
models = typer.Typer(help="The models that jobs can name: list, show, check and import them.")


@models.callback(invoke_without_command=True)
def models_(context: typer.Context, json: Json = False) -> None:
    """The models that jobs can name: list, show, check and import them."""
    if context.invoked_subcommand is None:
        models_list(json)


@models.command("list")
def models_list(json: Json = False) -> None:
    """List every version of every model; one that is broken is shown with its reason."""
    call("maskq.cli.models", "list_", folders=model_folders(), as_json=json)


@models.command("show")
def models_show(
    name: Annotated[str, typer.Argument(help="nuclei, its newest version, or nuclei@3.")], json: Json = False
) -> None:
    """Show all that a model says of itself: its parameters, provenance, licence and card."""
    call("maskq.cli.models", "show", name=name, folders=model_folders(), as_json=json)


@models.command("check")
def models_check(
    names: Annotated[
        list[str] | None, typer.Argument(help="Names or folders; without any, all.", metavar="[MODEL...]")
    ] = None,
    json: Json = False,
) -> None:
    """Check that models are whole and run: sha256, entries, a small forward. Exit status 1 if any is not."""
    call("maskq.cli.models", "check", models=names or [], folders=model_folders(), as_json=json)


@models.command("import")
def models_import(
    file: Annotated[Path, typer.Argument(help="A published checkpoint, or a program that torch.export saved: .pt2.")],
    model: Annotated[str, typer.Option("--model", "-m", help="The new model's name.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The folder in which NAME/VERSION is made.")],
    version: Annotated[int, typer.Option(min=1, help="Its version.")] = 1,
    unit: Annotated[
        float | None, typer.Option(help="Pixels per unit of its grid; default that of the published ones, 1,023.")
    ] = None,
    normalisation: Annotated[
        str | None, typer.Option(help="unit (the type's range to 0..1; default with 3 channels) or percentile.")
    ] = None,
    seed_threshold: SeedThreshold = None,
    min_pixels: MinPixels = None,
    min_unclustered: Annotated[
        int | None, typer.Option(min=0, help="Clustering ends when no more foreground pixels than this are left.")
    ] = None,
    halo: Annotated[int | None, typer.Option(min=0, help="How far around a pixel a program looks, pixels.")] = None,
    scale: Annotated[float | None, typer.Option(help="Resize images by this.")] = None,
    diameter: Annotated[float | None, typer.Option(help="The training objects' median diameter, pixels.")] = None,
    pixel_size: Annotated[float | None, typer.Option(help="The training images' pixel, micrometres.")] = None,
    summary: Annotated[str, typer.Option(help="What it is for.")] = "",
    licence: Annotated[str, typer.Option(help="The weights' licence.")] = "",
    trained_on: Annotated[str, typer.Option(help="What it was trained on.")] = "",
) -> None:
    """Make a model's folder of a network from elsewhere, and check it. No code in a checkpoint is run."""
    given = {
        "name": model,
        "version": version,
        "unit": unit,
        "normalisation": normalisation,
        "seed_threshold": seed_threshold,
        "min_pixels": min_pixels,
        "min_unclustered": min_unclustered,
        "halo": halo,
        "scale": scale,
        "diameter": diameter,
        "pixel_size": pixel_size,
        "summary": summary,
        "licence": licence,
        "trained_on": trained_on,
    }
    call("maskq.cli.importing", "import_", file=file, out=out, given=given)


@app.command()
def evaluate(
    data: Annotated[Path, typer.Argument(help="A folder with images/ and labels/, and index.csv for splits.")],
    model: Model = "nuclei",
    split: Annotated[str | None, typer.Option(help="Only this split of index.csv.")] = None,
    index: Annotated[
        Path | None, typer.Option(help="The CSV file of splits (columns id, split); default DATA/index.csv.")
    ] = None,
    baseline: Annotated[str | None, typer.Option(help="Set beside the model: otsu (threshold and watershed).")] = None,
    tta: Tta = False,
    diameter: Diameter = None,
    tune: Annotated[
        bool, typer.Option("--tune", help="Choose seed_threshold and min_pixels on this data; store them in the model.")
    ] = False,
    pictures: Annotated[Path | None, typer.Option(help="A folder for pictures of the worst images' errors.")] = None,
    worst: Annotated[int, typer.Option(min=1, help="How many images to picture.")] = 10,
    every: Annotated[bool, typer.Option("--all", help="Show every image, not the worst ten.")] = False,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    precision: Annotated[str, typer.Option(help="What the network computes in: fp32, bf16 or fp16.")] = "fp32",
    json: Json = False,
) -> None:
    """Measure a model on labelled images: AP at IoU .5 to .95, pooled and as the mean over images, image by image."""
    chosen = settings()
    call(
        "maskq.cli.evaluate",
        "evaluate",
        data=data,
        model=model,
        folders=chosen.model_folders,
        split=split,
        index=index,
        baseline=baseline,
        tta=tta,
        diameter=diameter,
        tune=tune,
        pictures=pictures,
        worst=worst,
        every=every,
        device=device,
        precision=precision,
        as_json=json,
        tile_pixels=chosen.tile_pixels,
        max_pixels=chosen.max_pixels,
    )


@app.command()
def train(
    data: Annotated[Path, typer.Argument(help="A folder with images/ and labels/, and perhaps index.csv.")],
    model: Annotated[str, typer.Option("--model", "-m", help="The new model's name.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The folder in which the model's folder is made.")] = Path(
        "models"
    ),
    index: Annotated[
        Path | None,
        typer.Option(help="Columns id and split (train, val); default DATA/index.csv, else every fifth is val."),
    ] = None,
    start: Annotated[str | None, typer.Option("--from", help="Begin with this model's weights.")] = None,
    scale: Annotated[float | None, typer.Option(min=0.0625, max=16, help="Resize images by this.")] = None,
    steps: Annotated[int, typer.Option(min=1, help="Steps of the optimiser.")] = 5000,
    batch: Annotated[int, typer.Option(min=1, help="Crops per step.")] = 8,
    crop: Annotated[int, typer.Option(min=32, help="Sides of a crop, pixels; a multiple of 8.")] = 160,
    rate: Annotated[float, typer.Option(min=0, help="Adam's rate at the start; it falls to 0.")] = 1e-3,
    every: Annotated[int, typer.Option(min=1, help="Validate and write a checkpoint every so many steps.")] = 250,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    compiled: Annotated[bool, typer.Option("--compile", help="torch.compile: a minute to start, then faster.")] = False,
    seed: Annotated[int, typer.Option(help="Of every random choice.")] = 0,
) -> None:
    """Train a model on labelled images; started again, it goes on where it was stopped.

    OUT/MODEL gets the weights that did best on the images held out, and training/curves.png shows how it goes.
    """
    call(
        "maskq.cli.train",
        "train",
        data=data,
        name=model,
        out=out,
        index=index,
        start=start,
        folders=model_folders(),
        scale=scale,
        schedule={"steps": steps, "batch": batch, "crop": crop, "rate": rate, "seed": seed},
        every=every,
        device=device,
        compiled=compiled,
    )
