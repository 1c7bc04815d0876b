"""The headers of a LERC segment. Source: Esri's LERC specification, version 2.1 to 2.6."""

import struct
from dataclasses import dataclass

from ..errors import NotAnImage, TruncatedImage

MAGIC = b"Lerc2 "
_MAX_BANDS = 256


@dataclass(frozen=True)
class Header:
    """The size of all bands of a LERC segment."""

    height: int
    width: int
    samples: int


def read_header(data: bytes, name: str) -> Header:
    """The size that all blobs of a segment claim. Raises `TruncatedImage`, `NotAnImage` or `struct.error`."""
    if not data.startswith(MAGIC):
        raise NotAnImage(f"{name}: a LERC of version 1, or with a second compression; save it with deflate or LZW")
    sizes, depths, offset = set(), 0, 0
    while data.startswith(MAGIC, offset):
        height, width, depth, length = _blob(data, offset)
        if length < len(MAGIC) or offset + length > len(data):
            raise TruncatedImage(f"{name}: cut short: a LERC blob of {length:,} bytes ends after its segment")
        sizes.add((height, width))
        depths += depth
        offset += length
    if len(sizes) != 1 or depths > _MAX_BANDS or min(*sizes.pop(), depths) <= 0:
        raise TruncatedImage(f"{name}: damaged: LERC blobs of different sizes")
    return Header(height, width, depths)


def _blob(data: bytes, offset: int) -> tuple[int, int, int, int]:
    """Height, width, values for each pixel, and length in bytes of a blob."""
    (version,) = struct.unpack_from("<i", data, offset + 6)
    position = offset + 10 + (4 if version >= 3 else 0)  # a checksum
    height, width = struct.unpack_from("<ii", data, position)
    position += 8
    depth = 1
    if version >= 4:
        (depth,) = struct.unpack_from("<i", data, position)
        position += 4
    _, _, length, _ = struct.unpack_from("<4i", data, position)
    return height, width, depth, length
