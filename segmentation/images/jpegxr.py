"""The headers of a JPEG XR file. Source: ITU-T T.832, 8.3 and annex A."""

import struct
from dataclasses import dataclass

from ..errors import TruncatedImage

MAGIC = b"II\xbc"
_WIDTH, _HEIGHT, _OFFSET, _ALPHA_OFFSET = 0xBC80, 0xBC81, 0xBCC0, 0xBCC2
_SIGNATURE = b"WMPHOTO\0"
_MAX_TAGS = 256


@dataclass(frozen=True)
class Header:
    """The largest size that the container or a codestream of a JPEG XR claims."""

    height: int
    width: int


def read_header(data: bytes, name: str) -> Header:
    """The size of a JPEG XR. Raises `TruncatedImage`, or `struct.error` at the end of the bytes."""
    if not data.startswith(MAGIC):
        raise TruncatedImage(f"{name}: damaged: no JPEG XR where there should be one")
    (start,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, start)
    if count > _MAX_TAGS:
        raise TruncatedImage(f"{name}: damaged: a JPEG XR of {count:,} tags")
    tags = {}
    for index in range(count):
        tag, kind, _, value = struct.unpack_from("<HHII", data, start + 2 + 12 * index)
        tags[tag] = value & 0xFFFF if kind == 3 else value & 0xFF if kind == 1 else value
    sizes = [(tags.get(_HEIGHT, 0), tags.get(_WIDTH, 0))]
    sizes += [_codestream(data, tags[tag], name) for tag in (_OFFSET, _ALPHA_OFFSET) if tags.get(tag)]
    if len(sizes) < 2 or sizes[0] != sizes[1]:
        raise TruncatedImage(f"{name}: damaged: the two sizes in its JPEG XR headers differ")
    return Header(*(max(sides) for sides in zip(*sizes, strict=True)))


def _codestream(data: bytes, offset: int, name: str) -> tuple[int, int]:
    """Height and width in the header of the codestream at an offset."""
    if not data.startswith(_SIGNATURE, offset):
        raise TruncatedImage(f"{name}: damaged: a JPEG XR without a codestream")
    short = data[offset + 10] & 0x80
    width, height = struct.unpack_from(">HH" if short else ">II", data, offset + 12)
    return height + 1, width + 1
