"""A folder of results: a file per image and format, and data sets of all images."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from ..errors import FormatNotApplicable
from .registry import DEFAULT, select
from .result_format import FormatOptions, ResultFormat

if TYPE_CHECKING:
    from ..client.job import Result


class ResultFolder:
    """Writes results into a folder; a context manager, at whose end data sets are complete."""

    def __init__(self, folder: Path, formats: tuple[ResultFormat, ...], simplify: float = 0.0) -> None:
        """Raises `FormatUnavailable` if the packages of a format are not installed."""
        for one in formats:
            one.check_installed()
        self.needs_image = any(one.needs_image for one in formats)
        self._folder, self._formats, self._simplify = folder, formats, simplify
        self._datasets = {one.name: one.dataset(folder) for one in formats if one.dataset}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for dataset in self._datasets.values():
            dataset.close()

    def write(self, result: Result, image: bytes, name: str) -> tuple[dict[str, Path], FormatNotApplicable | None]:
        """Write a result under a name; returns the paths by the formats' names.

        A stack also gets a table if the formats are the default. A format that can't represent the result is left out,
        and its error returned.
        """
        options, paths, refusal = FormatOptions(image, self._simplify), {}, None
        more = select("table") if result.planes and self._formats == select(DEFAULT) else ()
        for one in (*self._formats, *more):
            try:
                one.check(result, options)
                if dataset := self._datasets.get(one.name):
                    paths[one.name] = dataset.add(result, name, options)
                else:
                    paths[one.name] = path = self._folder / f"{name}{one.folder_ending or one.ending(result)}"
                    one.write(result, path, options)
            except FormatNotApplicable as error:
                paths.pop(one.name, None)
                refusal = error
        return paths, refusal
