"""A process that gives files directly to the libraries that maskq reads images with, without maskq's guards.

Run as `python -m tests.hostile.libraries`. It reads names, one a line, and answers each with a line of JSON: library →
error or null. It ends if a library crashes or takes more than 5 seconds. More than 512 MB are a `MemoryError`.
"""

from __future__ import annotations

import io
import json
import logging
import resource
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeAlias

import imagecodecs
import numpy as np
import tifffile
from PIL import Image

from . import make

_SECONDS, _BYTES = 5, 512 * 2**20
_Read: TypeAlias = Callable[[bytes], object]


def _pillow(data: bytes) -> None:
    with Image.open(io.BytesIO(data)) as image:
        getattr(image, "n_frames", 1)
        image.load()
        image.getexif().get_ifd(0x8769)


def _tifffile(data: bytes) -> None:
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        for page in file.pages:
            page.asarray()
        for series in file.series:
            series.asarray()


def _numpy(data: bytes) -> None:
    np.load(io.BytesIO(data), allow_pickle=True)


def _readers(data: bytes) -> Iterator[tuple[str, _Read]]:
    """The libraries that take a file that begins like this."""
    yield "Pillow", _pillow
    if data[:2] in (b"II", b"MM"):
        yield "tifffile", _tifffile
    codecs: dict[bytes, _Read] = {
        b"\xff\xd8": imagecodecs.jpeg8_decode,
        b"\x89PNG": imagecodecs.png_decode,
        b"RIFF": imagecodecs.webp_decode,
        b"BM": imagecodecs.bmp_decode,
    }
    yield from (("imagecodecs", codec) for start, codec in codecs.items() if data.startswith(start))
    if data.startswith((b"\x93NUMPY", b"\x80")):
        yield "numpy", _numpy


def _error(read: _Read, data: bytes) -> str | None:
    try:
        read(data)
    except Exception as error:
        return type(error).__name__
    return None


def _limit_memory() -> None:
    size = Path("/proc/self/statm")
    if size.exists():
        limit = int(size.read_text().split()[0]) * resource.getpagesize() + _BYTES
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def main() -> None:
    """Answer each name of standard input."""
    logging.disable()
    warnings.simplefilter("ignore")
    _limit_memory()
    for line in sys.stdin:
        data = make(line.strip())
        signal.alarm(_SECONDS)
        answer = {library: _error(read, data) for library, read in _readers(data)}
        signal.alarm(0)
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
