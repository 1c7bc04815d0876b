"""A folder of results: a file per image and format, and data sets of all images."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from ..errors import FormatNotApplicable
from .names import UniqueStems
from .registry import DEFAULT, select
from .result_format import FormatOptions

if TYPE_CHECKING:
    from ..client.job import Result


class ResultFolder:
    """Writes results into a folder; a context manager, at whose end data sets such as `coco.json` are complete.

    with ResultFolder("masks", "geojson,coco") as folder:
        for result in client.map(images):
            folder.write(result)
    """

    def __init__(self, folder: str | Path, formats: str | Iterable[str] = DEFAULT, *, simplify: float = 0.0) -> None:
        """`formats` are names, or names with commas between them; `simplify` is that of `Result.to`.

        Raises `UnknownFormat`, and `FormatUnavailable` if the packages of a format are not installed.
        """
        self._formats = select(formats)
        for one in self._formats:
            one.check_installed()
        #: Whether `write` needs the image: for overlays.
        self.needs_image = any(one.needs_image for one in self._formats)
        self._folder, self._simplify, self._stems = Path(folder), simplify, UniqueStems()
        self._datasets = {one.name: one.dataset(self._folder) for one in self._formats if one.dataset}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for dataset in self._datasets.values():
            dataset.close()

    def write(self, result: Result, *, image: bytes = b"", name: str | None = None) -> dict[str, Path]:
        """Write a result in every format; returns the paths by the formats' names.

        The files are named as the image, or as `name`. A stack also gets a table if the formats are the default. Raises
        `FormatNotApplicable` if a format can't represent the result; those that can are written all the same.
        """
        paths, refusal = self.write_possible(result, image=image, name=name)
        if refusal:
            raise refusal
        return paths

    def write_possible(
        self, result: Result, *, image: bytes = b"", name: str | None = None
    ) -> tuple[dict[str, Path], FormatNotApplicable | None]:
        """As `write`, but returns the error instead of raising it."""
        options, paths, refusal = FormatOptions(image, self._simplify), {}, None
        name = self._stems.next(result) if name is None else name
        more = select("table") if result.planes and self._formats == select(DEFAULT) else ()
        for one in (*self._formats, *more):
            try:
                one.check(result, options)
                if dataset := self._datasets.get(one.name):
                    paths[one.name] = dataset.add(result, name, options)
                else:
                    path = self._folder / f"{name}{one.folder_ending or one.ending(result)}"
                    one.write(result, path, options)
                    paths[one.name] = path
            except FormatNotApplicable as error:
                refusal = error
        return paths, refusal
