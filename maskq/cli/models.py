"""`maskq models`: list, show, check and import models."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.text import Text

from maskq.producer.printable import printable
from maskq.segmentation.errors import InvalidModel, SegmentationError

from .options import Json, MinPixels, SeedThreshold, read_settings
from .terminal import PlainTable, stderr, stdout
from .writable import expanded, output_folder

if TYPE_CHECKING:
    from maskq.segmentation.models.registry import BrokenModel
    from maskq.segmentation.models.storage import Location

app = typer.Typer()


@app.callback(invoke_without_command=True)
def list_by_default(context: typer.Context, as_json: Json = False) -> int:
    """List, show, check and import models; without a command, list them."""
    return list_(as_json) if context.invoked_subcommand is None else 0


@app.command("list")
def list_(as_json: Json = False) -> int:
    """List all versions of all models. A broken model is listed with the reason."""
    from maskq.segmentation.models.registry import BrokenModel, ModelRegistry

    table = PlainTable("model", "purpose", "input", "trained on", "licence")
    for model in ModelRegistry(read_settings().model_folders).list_models():
        if isinstance(model, BrokenModel):
            data = {"name": model.name, "version": model.version, "broken": model.reason, "folder": str(model.location)}
            table.add_row(_broken_ref(model), Text(printable(f"broken: {model.reason}"), "red"))
        else:
            spec = model.spec
            data = spec.model_dump()
            cells = spec.summary, f"{spec.channels}, {spec.normalisation}", spec.trained_on, spec.licence
            table.add_row(spec.ref, *cells)
        if as_json:
            print(json.dumps(data))
    if not as_json:
        stdout.show(table)
    return 0


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="NAME for the newest version, or NAME@VERSION.")], as_json: Json = False
) -> int:
    """Show a model's parameters, provenance, licence and card."""
    from rich.markdown import Markdown

    from maskq.segmentation.models.registry import ModelRegistry
    from maskq.segmentation.models.spec import read_card

    model = ModelRegistry(read_settings().model_folders).find(name)
    fields, card = model.spec.model_dump(), read_card(model.location)
    if as_json:
        print(json.dumps(fields | {"folder": str(model.location), "card": card}))
        return 0
    table = PlainTable(model.spec.ref, str(model.location))
    for field, value in fields.items():
        table.add_row(field, str(value))
    stdout.show(table)
    if card:
        stdout.print(Markdown(card))
    return 0


@app.command()
def check(
    models: Annotated[
        list[str] | None, typer.Argument(help="Names or folders; default: all models.", metavar="[MODEL...]")
    ] = None,
    as_json: Json = False,
) -> int:
    """Check that models are complete and run: sha256, weights, inference on noise. Exit status 1 if one fails."""
    folders = read_settings().model_folders
    return _print_checks(_check_named(models, folders) if models else _check_all(folders), as_json)


@app.command("import")
def import_(
    file: Annotated[
        Path, typer.Argument(callback=expanded, help="A published checkpoint, or a .pt2 program saved by torch.export.")
    ],
    name: Annotated[str, typer.Option("--model", "-m", help="Name of the new model.")],
    out: Annotated[
        Path, typer.Option("--out", "-o", callback=output_folder, help="Folder in which NAME/VERSION is created.")
    ],
    version: Annotated[int, typer.Option(min=1, help="Version of the new model.")] = 1,
    unit: Annotated[
        float | None, typer.Option(help="Pixels per unit of the embedding grid; default: 1023, as published.")
    ] = None,
    normalisation: Annotated[
        str | None,
        typer.Option(help="unit (range of the pixel type to 0..1; default for 3 channels) or percentile."),
    ] = None,
    seed_threshold: SeedThreshold = None,
    min_pixels: MinPixels = None,
    min_unclustered: Annotated[
        int | None, typer.Option(min=0, help="Stop clustering when at most this many foreground pixels are left.")
    ] = None,
    halo: Annotated[int | None, typer.Option(min=0, help="How far a program looks around a pixel, in pixels.")] = None,
    scale: Annotated[float | None, typer.Option(help="Factor by which images are resized.")] = None,
    diameter: Annotated[float | None, typer.Option(help="Median object diameter in training, pixels.")] = None,
    pixel_size: Annotated[float | None, typer.Option(help="Pixel width of the training images, micrometres.")] = None,
    summary: Annotated[str, typer.Option(help="Purpose of the model.")] = "",
    licence: Annotated[str, typer.Option(help="Licence of the weights.")] = "",
    trained_on: Annotated[str, typer.Option(help="Training data.")] = "",
) -> int:
    """Create a model from a foreign network, and check it. Code in a checkpoint is never run."""
    options = {
        "name": name,
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
    return _import(file, out, {field: value for field, value in options.items() if value is not None})


def _import(file: Path, out: Path, options: dict[str, Any]) -> int:
    """Create and check a model. `options` are fields of its spec; they override those that the file determines."""
    from maskq.segmentation.models import importing
    from maskq.segmentation.models.spec import ModelSpec

    imported = importing.import_file(file)
    normalisation = "unit" if imported.spec_fields["channels"] == "rgb" else "percentile"
    defaults: dict[str, Any] = {"normalisation": normalisation, "unit": importing.PUBLISHED_UNIT}
    spec = ModelSpec.model_validate(defaults | dict(imported.spec_fields) | options)
    folder = importing.add_version(out, spec, imported.weights)
    message = f"{folder}: {spec.channels}, {spec.bandwidths} bandwidths; use it with MASKQ_MODELS={out}"
    stderr.print(message, markup=False)
    if spec.architecture.runs_code:
        stderr.print("a program is code that the workers will run: import only what you trust")
    return _print_checks([(str(folder), _error(folder))], as_json=False)


def _print_checks(checks: Iterable[tuple[str, str]], as_json: bool) -> int:
    """Print each model and its error, empty if there is none; 1 if a model has one."""
    failed = 0
    for model, error in checks:
        failed |= bool(error)
        if as_json:
            print(json.dumps({"model": model, "ok": not error, "reason": error}))
        else:
            result = f"[red]{escape(error)}" if error else "[green]whole, and runs"
            stdout.print(f"{escape(model)}: {result}", soft_wrap=True)
    return failed


def _check_all(folders: Iterable[str]) -> Iterator[tuple[str, str]]:
    from maskq.segmentation.models.registry import BrokenModel, ModelRegistry

    for model in ModelRegistry(folders).list_models():
        if isinstance(model, BrokenModel):
            yield _broken_ref(model), model.reason
        else:
            yield model.spec.ref, _error(model.location)


def _check_named(models: Iterable[str], folders: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Check models given by name or by folder."""
    from maskq.segmentation.models.registry import ModelRegistry
    from maskq.segmentation.models.spec import SPEC

    registry = ModelRegistry(folders)
    for name in models:
        folder = Path(name).expanduser()
        if (folder / SPEC).is_file():
            yield name, _error(folder)
            continue
        try:
            model = registry.find(name)
        except SegmentationError as error:
            yield name, str(error)
        else:
            yield model.spec.ref, _error(model.location)


def _error(folder: Location) -> str:
    try:
        _run_on_noise(folder)
    except SegmentationError as error:
        return str(error)
    return ""


def _run_on_noise(folder: Location) -> None:
    """Load the model and run it on two small random inputs. Raises `InvalidModel`."""
    import numpy as np

    from maskq.segmentation.models.spec import read_spec
    from maskq.segmentation.segmenter import Segmenter

    spec = read_spec(folder)
    noise = np.random.default_rng(0).random((2, spec.channel_count, 64, 96), np.float32)
    fields = Segmenter.load(folder).forward(noise)
    if fields.shape != (2, 3 + spec.bandwidths, 64, 96) or not np.isfinite(fields).all():
        raise InvalidModel(f"{folder}: its fields of noise, {fields.shape}, are not all finite numbers")


def _broken_ref(model: BrokenModel) -> str:
    return model.name if model.version is None else f"{model.name}@{model.version}"
