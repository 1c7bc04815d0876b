"""PNG of 16 bits a channel and more than one channel, which Pillow would cut to 8."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

import imagecodecs
import numpy as np

from ..errors import ImageTooLarge, TruncatedImage
from .checks import Pixels, check_present

MAGIC = b"\x89PNG"
#: Of 16-bit RGB, grey with alpha, RGB with alpha, by the header's colour type.
_PIXEL_BYTES = {2: 6, 4: 4, 6: 8}
_LAST_FILTER = 4
#: libpng's own limit of a side.
_MOST = 1_000_000
#: Bytes of a chunk, which can't have 2³¹.
_PIECE = 1 << 30
#: First row and column, and steps down and right, of an interlaced PNG's seven passes.
_ADAM7 = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))


def is_deep_colour(data: bytes) -> bool:
    """Whether a PNG, by its header's bit depth and colour type, is one that Pillow would cut."""
    return data.startswith(MAGIC) and len(data) > 25 and data[24] == 16 and data[25] in (2, 4, 6)


def read_deep_colour(data: bytes, name: str) -> Pixels:
    """(H, W, C) uint16. Raises an `ImageError`, or anything on damaged bytes.

    libpng leaves a damaged stream by a long jump, over which imagecodecs drops a reference to None each time; when
    the last is gone the process dies. So what it gets here is a new file of nothing but sound rows.
    """
    stream = b"".join(body for kind, body in _chunks(data, name) if kind == b"IDAT")
    width, height, _, colour, _, _, interlaced = struct.unpack_from(">IIBBBBB", data, 16)
    if max(width, height) > _MOST:
        raise ImageTooLarge(f"{name}: {height}×{width}, over the limit of {_MOST:,} a side in 16-bit colour PNG")
    passes = _ADAM7 if interlaced else ((0, 0, 1, 1),)
    rows = [
        (-(-(height - top) // down), 1 + -(-(width - left) // right) * _PIXEL_BYTES[colour])
        for top, left, down, right in passes
        if height > top and width > left
    ]
    wanted = sum(count * length for count, length in rows)
    raw = zlib.decompressobj().decompress(stream, wanted)
    check_present(len(raw), wanted, name)
    start = 0
    for count, length in rows:
        if max(raw[start : start + count * length : length]) > _LAST_FILTER:
            raise TruncatedImage(f"{name}: damaged: a row is filtered by no method of PNG")
        start += count * length
    header = struct.pack(">IIBBBBB", width, height, 16, colour, 0, 0, bool(interlaced))
    stored = zlib.compress(raw, 0)
    pieces = [(b"IDAT", stored[at : at + _PIECE]) for at in range(0, len(stored), _PIECE)]
    whole = b"".join(_chunk(*chunk) for chunk in ((b"IHDR", header), *pieces, (b"IEND", b"")))
    return np.asarray(imagecodecs.png_decode(data[:8] + whole))


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
