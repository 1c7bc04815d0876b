"""COCO: one data set file for any number of images, with a run-length mask per object.

The masks are exact, unlike COCO's polygons, which have no holes and which programs fill differently.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from .atomic_file import atomic_file
from .names import file_name
from .result_format import FormatOptions, ResultFormat

if TYPE_CHECKING:
    from ..client.job import Result

_INFO = {"description": "Instance masks by maskq", "version": "1.0"}


class Numbers:
    """Numbers the images, objects and classes of a data set, each from 1."""

    def __init__(self) -> None:
        self.images = 0
        self.annotations = 0
        #: The number of each class; a class is a model, such as `nuclei`.
        self.categories: dict[str, int] = {}

    def image(self, result: Result, file_name: str) -> dict[str, Any]:
        """The entry of the next image."""
        self.images += 1
        height, width = result.size
        return {"id": self.images, "file_name": file_name, "width": width, "height": height}

    def annotations_of(self, result: Result) -> Iterator[dict[str, Any]]:
        """The entries of its objects."""
        category = self.categories.setdefault(class_name(result), len(self.categories) + 1)
        for item in result.objects:
            self.annotations += 1
            yield {
                "id": self.annotations,
                "image_id": self.images,
                "category_id": category,
                "bbox": item.bbox,
                "area": item.area,
                "segmentation": {"size": item.rle.size, "counts": item.rle.counts},
                "iscrowd": 0,
                "score": item.score,
            }

    def category_entries(self) -> list[dict[str, Any]]:
        """The entries of the classes."""
        return [{"id": number, "name": name, "supercategory": ""} for name, number in self.categories.items()]


def class_name(result: Result) -> str:
    """The name of the objects' class: that of the model, without its version."""
    return result.model.partition("@")[0]


def chunks(result: Result, options: FormatOptions) -> Iterator[bytes]:
    """A data set of one image."""
    numbers = Numbers()
    yield _begin()
    yield _json(numbers.image(result, file_name(result)))
    yield _MIDDLE
    yield from _listed(numbers.annotations_of(result))
    yield _end(numbers)


_MIDDLE = b'\n],"annotations":['


def _begin() -> bytes:
    return b'{"info":' + _json(_INFO) + b',"licenses":[],"images":['


def _end(numbers: Numbers) -> bytes:
    return b'\n],"categories":' + _json(numbers.category_entries()) + b"}\n"


def _listed(entries: Iterable[dict[str, Any]], begun: bool = False) -> Iterator[bytes]:
    """The entries on a line each, with commas between them, and before the first if the list has begun."""
    for entry in entries:
        yield (b",\n" if begun else b"\n") + _json(entry)
        begun = True


_encode = json.JSONEncoder(ensure_ascii=False, check_circular=False, separators=(",", ":")).encode


def _json(value: object) -> bytes:
    return _encode(value).encode()


class CocoFile:
    """`coco.json` in a folder. Entries wait in temporary files, because a COCO file has all images first."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "coco.json"
        self._numbers = Numbers()
        self._images: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 `close` closes it
        self._annotations: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 `close` closes it

    def add(self, result: Result, name: str, options: FormatOptions) -> Path:
        """Add an image and its objects."""
        numbers = self._numbers
        begun = numbers.annotations > 0
        self._images.writelines(_listed([numbers.image(result, file_name(result))], numbers.images > 1))
        self._annotations.writelines(_listed(numbers.annotations_of(result), begun))
        return self.path

    def close(self) -> None:
        """Write the file."""
        with self._images, self._annotations, atomic_file(self.path) as part, part.open("wb") as file:
            file.write(_begin())
            _copy(self._images, file)
            file.write(_MIDDLE)
            _copy(self._annotations, file)
            file.write(_end(self._numbers))


def _copy(source: IO[bytes], target: IO[bytes]) -> None:
    source.seek(0)
    shutil.copyfileobj(source, target)


FORMAT = ResultFormat(
    "coco",
    "COCO data set with masks",
    {".coco.json": "application/json"},
    chunks,
    streamable=True,
    stacks=False,
    dataset=CocoFile,
)
