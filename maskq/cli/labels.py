"""`maskq labels`."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import track

from .options import Json
from .terminal import print_error, stderr, stdout
from .writable import expanded, output_folder

if TYPE_CHECKING:
    from maskq.segmentation.label_conversion import Converted

app = typer.Typer()


@app.command()
def labels(
    source: Annotated[Path, typer.Argument(callback=expanded, help="A label file, or a folder of them.")],
    out: Annotated[
        Path,
        typer.Option(
            "--out", "-o", callback=output_folder, help="The folder to write to; its files are not overwritten."
        ),
    ],
    pieces: Annotated[
        bool, typer.Option("--pieces", help="Each connected piece is an object: for masks of foreground or classes.")
    ] = False,
    background: Annotated[
        list[str] | None,
        typer.Option(help="A number or colour (#ffffff) that is no object; repeat for several. Default: 0, black."),
    ] = None,
    as_json: Json = False,
) -> int:
    """Convert label images to one number per object, as training and evaluation need them.

    Each number or colour of a file becomes one object, 1 to n; with --pieces, each connected piece of it (pixels that
    touch at sides or corners). Writes 16-bit PNG, or 32-bit TIFF beyond 65,535 objects. Exit status 1 if a file fails.
    """
    from maskq.segmentation.errors import SegmentationError
    from maskq.segmentation.label_conversion import background_value, convert

    colours = [background_value(text) for text in background or []]
    files = _files(source)
    _refuse_existing(files, out)
    out.mkdir(parents=True, exist_ok=True)
    results, failed = [], 0
    for path in track(files, "converting", console=stderr, disable=not stderr.is_terminal, transient=True):
        try:
            converted = convert(path, colours, by_piece=pieces)
        except SegmentationError as error:
            print_error(str(error))
            failed += 1
            continue
        written = _write(out, path, converted)
        results.append(converted)
        if as_json:
            counts = {"objects": converted.objects, "values": converted.values, "pieces": converted.pieces}
            print(json.dumps({"file": str(path), "written": str(written), **counts}))
    if not as_json:
        _report(results, failed, out)
    return int(failed > 0)


def _files(source: Path) -> list[Path]:
    """The label files to convert; of images and labels in one folder, the labels.

    Raises `InvalidDataset` if there are none, or two would have one name.
    """
    from maskq.segmentation.dataset import InvalidDataset
    from maskq.segmentation.dataset.layout import is_flat
    from maskq.segmentation.dataset.names import image_files, is_label_name, stem

    if source.is_file():
        return [source]
    if not source.is_dir():
        raise InvalidDataset(f"{source}: no such file or folder")
    files, _ = image_files(source)
    if is_flat(source):
        files = [path for path in files if is_label_name(path)]
    if not files:
        raise InvalidDataset(f"{source}: no image files")
    for name, count in Counter(map(stem, files)).items():
        if count > 1:
            raise InvalidDataset(f"{source}: {count} files are called {name!r}; rename all but one")
    return files


def _refuse_existing(files: Sequence[Path], out: Path) -> None:
    from maskq.segmentation.dataset import InvalidDataset
    from maskq.segmentation.dataset.names import stem

    for path in files:
        for target in (out / f"{stem(path)}.png", out / f"{stem(path)}.tif"):
            if target.exists():
                raise InvalidDataset(f"{target} exists; choose another folder, or remove it")


def _write(out: Path, path: Path, converted: Converted) -> Path:
    from maskq.segmentation.atomic_write import atomic_write
    from maskq.segmentation.dataset.names import stem
    from maskq.segmentation.labels import encode, suffix

    file = encode(converted.labels)
    target = out / f"{stem(path)}{suffix(file)}"
    with atomic_write(target) as part:
        part.write_bytes(file)
    return target


def _report(results: Sequence[Converted], failed: int, out: Path) -> None:
    """Print what was converted, and what deserves a look."""
    objects = sum(result.objects for result in results)
    empty = sum(not result.objects for result in results)
    split = sum(result.objects < result.pieces for result in results)
    stdout.print(f"{out}: {len(results):,} files, {objects:,} objects", markup=False, soft_wrap=True)
    if empty:
        stdout.print(f"{empty:,} files have no object")
    if split:
        stdout.print(f"{split:,} files have an object in several pieces; --pieces makes each piece an object")
    if failed:
        stdout.print(f"{failed:,} files could not be converted")
