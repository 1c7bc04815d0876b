"""One zip of many results, made as it is read: only one result at a time is in memory and on disk."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import FormatUnavailable, MaskqError
from .archive import zip_chunks
from .folder import ResultFolder
from .registry import find_format, select

if TYPE_CHECKING:
    from ..client.job import Result

#: A result's name in the zip, and the result and its image file (empty if no format needs it); or why there is none.
Item = tuple[str, "tuple[Result, bytes] | MaskqError"]


def zip_results(items: Iterable[Item], formats: str | Iterable[str], simplify: float = 0.0) -> Iterator[bytes]:
    """The zip file in pieces: what `ResultFolder` writes, and `summary.json` with the names that lack a file, and why.

    Data sets are at the end. Raises `UnknownFormat` at once, and `FormatUnavailable` if the packages of a format are
    not installed, or there is no folder for temporary files.
    """
    try:
        tempfile.gettempdir()
    except FileNotFoundError as error:
        raise FormatUnavailable(f"a zip of results needs a folder for temporary files: set TMPDIR ({error})") from error
    names = tuple(one.name for one in select(formats))
    for name in names:
        find_format(name).check_installed()
    return _chunks(items, names, simplify)


def _chunks(items: Iterable[Item], formats: tuple[str, ...], simplify: float) -> Iterator[bytes]:
    with tempfile.TemporaryDirectory(prefix="maskq-zip-") as folder:
        yield from zip_chunks(_entries(items, Path(folder), formats, simplify))


def _entries(
    items: Iterable[Item], folder: Path, formats: tuple[str, ...], simplify: float
) -> Iterator[tuple[str, bytes | Iterable[bytes]]]:
    results, failures = 0, []
    with ResultFolder(folder, formats, simplify=simplify) as files:
        for name, outcome in items:
            refusal: MaskqError | None = None
            if isinstance(outcome, MaskqError):
                refusal = outcome
            else:
                results += 1
                _, refusal = files.write_possible(outcome[0], image=outcome[1], name=name)
            if refusal:
                failures.append({"name": name, "type": type(refusal).__name__, "message": str(refusal)})
            yield from _taken(folder)
    yield from _taken(folder)
    yield "summary.json", json.dumps({"results": results, "failures": failures}, indent=2).encode()


def _taken(folder: Path) -> Iterator[tuple[str, Iterable[bytes]]]:
    """Every file in the folder, which is deleted once it is read."""
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        yield path.relative_to(folder).as_posix(), _pieces(path)
        path.unlink()


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            yield piece
