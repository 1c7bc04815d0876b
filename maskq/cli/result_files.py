"""The files that `maskq run` and `maskq result` write: one per image and format, data sets, and `summary.json`."""

import json
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from maskq.producer.client.job import Result
from maskq.producer.client.paths import ImagePath
from maskq.producer.errors import FormatNotApplicable, JobUnfinished
from maskq.producer.formats.atomic_file import atomic_file
from maskq.producer.formats.registry import FORMATS, select
from maskq.producer.formats.result_format import FormatOptions, ResultFormat

from .options import DEFAULT_FORMATS


class ResultFolder:
    """A folder of result files, a context manager: data sets are complete when it ends."""

    def __init__(self, folder: Path, formats: tuple[ResultFormat, ...], simplify: float = 0.0) -> None:
        """Raises `FormatUnavailable` if the packages of a format are not installed."""
        for one in formats:
            one.check_installed()
        self.needs_image = any(one.needs_image for one in formats)
        self._folder, self._simplify = folder, simplify
        self._formats = formats
        self._datasets = {one.name: one.dataset(folder) for one in formats if one.dataset}
        self._until_end = ExitStack()

    def __enter__(self) -> Self:
        for dataset in self._datasets.values():
            self._until_end.callback(dataset.close)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._until_end.close()

    def write(self, result: Result, image: bytes, name: str) -> tuple[dict[str, Path], FormatNotApplicable | None]:
        """Write a result under a name; returns the paths by the formats' names.

        A format that can't represent the result is left out, and its error returned.
        """
        options, paths, refusal = FormatOptions(image, self._simplify), {}, None
        for one in for_result(self._formats, result):
            try:
                one.check(result, options)
                if dataset := self._datasets.get(one.name):
                    paths[one.name] = dataset.add(result, name, options)
                else:
                    paths[one.name] = write_file(one, result, self._folder, name, options)
            except FormatNotApplicable as error:
                refusal = error
        return paths, refusal


def write_result(
    result: Result, image: bytes, folder: Path, name: str, formats: Iterable[ResultFormat] | None = None
) -> dict[str, Path]:
    """Write one file per format, `name` and the format's ending; returns the paths by the formats' names."""
    chosen = select(DEFAULT_FORMATS) if formats is None else tuple(formats)
    options = FormatOptions(image)
    return {one.name: write_file(one, result, folder, name, options) for one in for_result(chosen, result)}


def write_file(one: ResultFormat, result: Result, folder: Path, name: str, options: FormatOptions) -> Path:
    """Write a result's file in a format, or its folder if the format is one; returns the path."""
    one.check(result, options)
    path = folder / f"{name}{one.folder_ending or one.ending(result)}"
    one.write(result, path, options)
    return path


def for_result(formats: tuple[ResultFormat, ...], result: Result) -> tuple[ResultFormat, ...]:
    """The formats to write for a result: those chosen and, for a stack, a table if they are the default."""
    return (*formats, FORMATS["table"]) if result.planes and formats == select(DEFAULT_FORMATS) else formats


def json_entry(result: Result, paths: Mapping[str, Path]) -> dict[str, Any]:
    """The number of objects, and the paths of the files by format."""
    files = {name: str(path) for name, path in paths.items()}
    overlay = {"overlay": files["overlay"]} if "overlay" in files else {}
    return {"objects": result.count, "files": files} | overlay


def failure_kind(error: Exception) -> str:
    """The type of the error; if the job ended without a result, the type of the worker's error."""
    return error.error.type if isinstance(error, JobUnfinished) else type(error).__name__


@dataclass
class Summary:
    """What a command did: the contents of `summary.json`."""

    images: int = 0
    done: int = 0
    objects: int = 0
    failures: list[dict[str, str]] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def images_per_second(self) -> float:
        """Images that ended, with a result or without, per second of the whole command."""
        return round((self.done + len(self.failures)) / self.seconds, 3) if self.seconds else 0.0

    def add_result(self, result: Result) -> None:
        """Count an image that has a result."""
        self.done += 1
        self.objects += result.count

    def add_failure(self, image: ImagePath, kind: str, message: str) -> None:
        """Record an image that has no result, and why."""
        self.failures.append({"image": str(image), "type": kind, "message": message})

    def as_dict(self) -> dict[str, Any]:
        """The contents of `summary.json`."""
        return {
            "images": self.images,
            "done": self.done,
            "objects": self.objects,
            "failed": len(self.failures),
            "failures": self.failures,
            "seconds": round(self.seconds, 3),
            "images_per_second": self.images_per_second,
        }

    def write(self, folder: Path) -> Path:
        """Write `summary.json`; returns its path."""
        path = folder / "summary.json"
        with atomic_file(path) as part:
            part.write_text(json.dumps(self.as_dict(), indent=2) + "\n")
        return path
