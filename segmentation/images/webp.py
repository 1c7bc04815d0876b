"""The size in a WebP's header, and whether it is animated. Source: RFC 9649."""

import struct
from dataclasses import dataclass

from ..errors import TruncatedImage

_ANIMATED = 0x02


@dataclass(frozen=True)
class Header:
    """The header of a WebP file."""

    height: int
    width: int
    animated: bool


def is_webp(data: bytes) -> bool:
    """Whether the bytes begin as a WebP file does."""
    return data[:4] == b"RIFF" and data[8:12] == b"WEBP"


def read_header(data: bytes, name: str) -> Header:
    """The canvas of a WebP. Raises `TruncatedImage`."""
    if not is_webp(data) or len(data) < 30:
        raise TruncatedImage(f"{name}: cut short: no WebP header")
    if data[12:16] == b"VP8X":
        width, height = int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1
        return Header(height, width, bool(data[20] & _ANIMATED))
    if data[12:16] == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return Header((bits >> 14 & 0x3FFF) + 1, (bits & 0x3FFF) + 1, False)
    width, height = struct.unpack_from("<HH", data, 26)
    return Header(height & 0x3FFF, width & 0x3FFF, False)
