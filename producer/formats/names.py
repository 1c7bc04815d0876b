"""The names of results' files."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..client.job import Result


def file_name(result: Result) -> str:
    """The file name of the image, without folders."""
    return PurePosixPath(result.job.spec.name.replace("\\", "/")).name or "image"


def stem(result: Result) -> str:
    """The file name of the image without its ending."""
    return PurePosixPath(file_name(result)).stem


class UniqueStems:
    """Stems of which each is used once: the second of `cells` is `cells-2`."""

    def __init__(self) -> None:
        self._taken: set[str] = set()
        self._numbers: dict[str, int] = {}

    def next(self, result: Result) -> str:
        """The name for the files of the next result."""
        name = base = stem(result)
        while name in self._taken:
            number = self._numbers[base] = self._numbers.get(base, 1) + 1
            name = f"{base}-{number}"
        self._taken.add(name)
        return name
