"""What a writer's functions yield, and how to have a file written under a temporary name."""

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple, TypeAlias

import pyvips
import rasterio

from ..expected import Expected

_NAMES = {
    "opencv-python-headless": "OpenCV", "pillow": "Pillow", "numpy": "NumPy", "bioio-ome-tiff": "bioio",
    "pypng": "PyPNG",
}  # fmt: skip
_KINDS = {
    "rgba": "RGB and alpha", "rgb": "RGB", "la": "grey and alpha", "stains": "separate channels", "colours": "RGB",
    "planes": "RGB",
}  # fmt: skip


class Sample(NamedTuple):
    """The bytes of a file and what is right for it."""

    expected: Expected
    data: bytes


Samples: TypeAlias = Iterator[Sample]


def by(distribution: str) -> str:
    """Name and version of an installed writer."""
    return f"{_NAMES.get(distribution, distribution)} {version(distribution)}"


GDAL = f"GDAL {rasterio.__gdal_version__}"
LIBVIPS = f"libvips {'.'.join(str(pyvips.version(part)) for part in range(3))}"
BY_HAND = "by hand"


@dataclass(frozen=True)
class Kept:
    """Makes the samples of one writer and one section of docs/images.md."""

    writer: str
    format: str
    #: The beginning of the files' names, and their end if it is not in the name.
    prefix: str
    suffix: str = ""

    def __call__(self, file: str, data: bytes | bytearray, variety: str, picture: str = "", **right: str) -> Sample:
        """A sample; `right` are the further fields of `Expected`. The kind follows from the picture's name."""
        if picture and "kind" not in right:
            right["kind"] = next((kind for start, kind in _KINDS.items() if picture.startswith(start)), "grey")
        name = f"{self.prefix}-{file}{self.suffix}"
        return Sample(Expected(name, self.format, variety, self.writer, picture=picture, **right), bytes(data))

    def refused(self, file: str, data: bytes | bytearray, variety: str, says: str, error: str = "NotAnImage") -> Sample:
        """A sample that is refused with this error, whose message says this."""
        return self(file, data, variety, refused=error, says=says)


def written(suffix: str, write: Callable[[str], object]) -> bytes:
    """The bytes that `write` leaves at the path that it is given."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"file{suffix}"
        write(str(path))
        return path.read_bytes()


def bits_of(picture: str) -> str:
    """The type of a picture in words: `16 bits`, `16 bits, signed`, `32 bits, float`."""
    kind = picture.rstrip("0123456789")
    return f"{picture.removeprefix(kind)} bits" + {"int": ", signed", "float": ", float"}.get(kind, "")
