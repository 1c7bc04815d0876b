"""The structure of a PNG; and PNG of 16 bits a channel and more than one channel, which Pillow would cut to 8."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from ..arrays import Pixels
from ..errors import ImageTooLarge, NotAnImage, TruncatedImage
from .checks import bands, check_present

MAGIC = b"\x89PNG\r\n\x1a\n"
#: Of 16-bit RGB, grey with alpha, RGB with alpha, by the header's colour type.
_CHANNELS = {2: 3, 4: 2, 6: 4}
_LAST_FILTER = 4
#: libpng's own limit of a side.
_MOST = 1_000_000
#: Deflate makes no more of a byte than this.
_MOST_INFLATED = 1032
#: Chunks of pixels, and of all else, most of which Pillow keeps: they may have twelve bytes.
_MOST_PIECES, _MOST_OTHERS = 1_000_000, 10_000
#: First row and column, and steps down and right, of an interlaced PNG's seven passes.
_ADAM7 = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))


def check_structure(data: bytes, name: str) -> None:
    """Raises `NotAnImage` where a PNG has more chunks than any that is meant to be looked at."""
    pieces, others, at = 0, 0, 8
    while at + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        at += 12 + length
        if kind == b"IDAT":
            pieces += 1
        else:
            others += 1
        if pieces > _MOST_PIECES or others > _MOST_OTHERS:
            raise NotAnImage(
                f"{name}: a PNG of more than {_MOST_PIECES:,} chunks of pixels or {_MOST_OTHERS:,} others; save it anew"
            )
        if kind == b"IEND":
            return


def is_deep_colour(data: bytes) -> bool:
    """Whether a PNG, by its header's bit depth and colour type, is one that Pillow would cut."""
    return data.startswith(MAGIC) and len(data) > 25 and data[24] == 16 and data[25] in _CHANNELS


def read_deep_colour(data: bytes, name: str) -> Pixels:
    """(H, W, C) uint16. Raises an `ImageError`, or anything on damaged bytes.

    libpng leaves a damaged stream by a long jump, over which imagecodecs drops a reference to None each time; when
    the last is gone the process dies. So what it gets here are new files of nothing but sound rows, a band of them
    in each: a whole image, inflated and wrapped anew, would stand in memory five times.
    """
    stream = b"".join(body for kind, body in _chunks(data, name) if kind == b"IDAT")
    width, height, _, colour, _, _, interlaced = struct.unpack_from(">IIBBBBB", data, 16)
    if max(width, height) > _MOST:
        raise ImageTooLarge(f"{name}: {height}×{width}, over the limit of {_MOST:,} a side in 16-bit colour PNG")
    channels = _CHANNELS[colour]
    check_present(_MOST_INFLATED * len(stream), 2 * channels * height * width, name)
    pixels = np.empty((height, width, channels), np.uint16)
    rows = _Rows(stream, name)
    for top, left, down, right in _ADAM7 if interlaced else ((0, 0, 1, 1),):
        part = pixels[top::down, left::right]
        if part.size:
            _fill(part, rows, colour)
    return pixels


class _Rows:
    """The rows of a deflated stream, a few at a time."""

    def __init__(self, stream: bytes, name: str) -> None:
        self._inflating, self._rest, self._name = zlib.decompressobj(), stream, name

    def take(self, count: int, length: int) -> bytes:
        """The next rows, each a filter's number and `length - 1` bytes. Raises `TruncatedImage`."""
        raw = self._inflating.decompress(self._rest, count * length)
        self._rest = self._inflating.unconsumed_tail
        check_present(len(raw), count * length, self._name)
        if max(raw[::length]) > _LAST_FILTER:
            raise TruncatedImage(f"{self._name}: damaged: a row is filtered by no method of PNG")
        return raw


def _fill(part: NDArray[np.uint16], rows: _Rows, colour: int) -> None:
    """Decode the next rows into (H, W, C) pixels, band after band."""
    height, width, channels = part.shape
    above = b""  # a band's first row is told from the one above it, which goes with it, unfiltered
    for band in bands(height, width):
        count = band.stop - band.start
        raw = above + rows.take(count, 1 + 2 * channels * width)
        decoded = np.asarray(imagecodecs.png_decode(_file(width, count + bool(above), colour, raw)))
        part[band] = decoded[-count:]
        above = b"\0" + decoded[-1].astype(">u2").tobytes()


def _file(width: int, height: int, colour: int, raw: bytes) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 16, colour, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(raw, 0)), (b"IEND", b""))
    return MAGIC + b"".join(_chunk(*chunk) for chunk in chunks)


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _chunks(data: bytes, name: str) -> Iterator[tuple[bytes, bytes]]:
    """The kind and the body of each chunk up to the last, sums checked where they matter."""
    at, kind = 8, b""
    while kind != b"IEND":
        length, kind = struct.unpack_from(">I4s", data, at)
        body, end = data[at + 8 : at + 8 + length], at + 12 + length
        if end > len(data):
            raise TruncatedImage(f"{name}: cut short: {len(data):,} bytes end before the image does")
        if (kind == b"IHDR") != (at == 8):
            raise TruncatedImage(f"{name}: damaged: its header is not where it belongs")
        if kind in (b"IHDR", b"IDAT") and data[at:end] != _chunk(kind, body):
            raise TruncatedImage(f"{name}: damaged: the checksum of its {kind.decode()} is wrong")
        yield kind, body
        at = end
