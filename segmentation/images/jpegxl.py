"""The header of a JPEG XL codestream, in a file of its own or in a container. Source: ISO/IEC 18181-1, annex D."""

import struct
from dataclasses import dataclass

from ..errors import NotAnImage, TruncatedImage
from .jpeg2000 import boxes

CODESTREAM_MAGIC = b"\xff\x0a"
FILE_MAGIC = b"\0\0\0\x0cJXL \r\n\x87\n"
#: Bytes that hold every header: the names of extra channels are the longest part.
_HEADER = 65_536
_MAX_EXTRA_CHANNELS = 16
#: Width to height, by the number of the ratio.
_RATIOS = {1: (1, 1), 2: (12, 10), 3: (4, 3), 4: (3, 2), 5: (16, 9), 6: (5, 4), 7: (2, 1)}
#: How a variable number is stored: by two bits, a constant, or a count of bits and what is added.
_Choice = int | tuple[int, int]
_SIDE: tuple[_Choice, ...] = ((9, 1), (13, 1), (18, 1), (30, 1))
_ENUM: tuple[_Choice, ...] = (0, 1, (4, 2), (6, 18))
_ALPHA, _SPOT, _FILTER, _GREY = 0, 2, 5, 1


@dataclass(frozen=True)
class Header:
    """The header of a JPEG XL."""

    height: int
    width: int
    #: Grey 1, colour 3.
    colours: int
    #: Whether one of the extra channels is alpha.
    alpha: bool
    extra_channels: int
    animated: bool
    #: Exif orientation, 1 to 8.
    orientation: int


class _Bits:
    """Reads numbers, lowest bit first. Beyond the end, it raises `IndexError`."""

    def __init__(self, data: bytes) -> None:
        self._bits, self._size, self._position = int.from_bytes(data, "little"), 8 * len(data), 0

    def take(self, count: int) -> int:
        value = self._bits >> self._position & ((1 << count) - 1)
        self._position += count
        if self._position > self._size:
            raise IndexError("the header is cut short")
        return value

    def number(self, *choices: _Choice) -> int:
        choice = choices[self.take(2)]
        return choice if isinstance(choice, int) else self.take(choice[0]) + choice[1]


def read_header(data: bytes, name: str) -> Header:
    """The header of a codestream, bare or in a container. Raises `TruncatedImage`, or `IndexError` if it is cut."""
    stream = codestream(data, name)
    if not stream.startswith(CODESTREAM_MAGIC):
        raise TruncatedImage(f"{name}: damaged: no JPEG XL codestream where there should be one")
    bits = _Bits(stream[2:_HEADER])
    height, width = _size(bits)
    if bits.take(1):  # everything as usual: 8-bit sRGB
        return Header(height, width, 3, False, 0, False, 1)
    orientation, animated = _extra_fields(bits) if bits.take(1) else (1, False)
    _depth(bits)
    bits.take(1)
    extra_channels = bits.number(0, 1, (4, 2), (12, 1))
    if extra_channels > _MAX_EXTRA_CHANNELS:
        raise NotAnImage(f"{name}: a JPEG XL of {extra_channels} extra channels, more than {_MAX_EXTRA_CHANNELS}")
    alpha = _ALPHA in [_extra_channel(bits) for _ in range(extra_channels)]
    bits.take(1)
    grey = not bits.take(1) and (bits.take(1), bits.number(*_ENUM))[1] == _GREY
    return Header(height, width, 1 if grey else 3, alpha, extra_channels, animated, orientation)


def codestream(data: bytes, name: str) -> bytes:
    """The codestream of a JPEG XL file. Raises `TruncatedImage` if there is none, `ValueError` if a box is cut."""
    if not data.startswith(FILE_MAGIC):
        return data
    parts = []
    for kind, begin, end in boxes(data, 0, len(data)):
        if kind == b"jxlc":
            return data[begin:end]
        if kind == b"jxlp":
            parts.append(data[begin + 4 : end])
            if struct.unpack_from(">I", data, begin)[0] >> 31:  # the last part
                return b"".join(parts)
    raise TruncatedImage(f"{name}: cut short: a JPEG XL container without its whole codestream")


def _size(bits: _Bits) -> tuple[int, int]:
    """Height and width."""
    small = bits.take(1)
    height = 8 * (bits.take(5) + 1) if small else bits.number(*_SIDE)
    if ratio := bits.take(3):
        across, down = _RATIOS[ratio]
        return height, height * across // down
    return height, 8 * (bits.take(5) + 1) if small else bits.number(*_SIDE)


def _extra_fields(bits: _Bits) -> tuple[int, bool]:
    """The orientation, and whether there is an animation."""
    orientation = bits.take(3) + 1
    if bits.take(1):  # the intended size
        _size(bits)
    if bits.take(1):
        _preview(bits)
    animated = bool(bits.take(1))
    if animated:
        bits.number(100, 1000, (10, 1), (30, 1))
        bits.number(1, 1001, (8, 1), (10, 1))
        bits.number(0, (3, 0), (16, 0), (32, 0))
        bits.take(1)
    return orientation, animated


def _preview(bits: _Bits) -> None:
    eighths: tuple[_Choice, ...] = (16, 32, (5, 1), (9, 33))
    side: tuple[_Choice, ...] = eighths if bits.take(1) else ((6, 1), (8, 65), (10, 321), (12, 1345))
    bits.number(*side)
    if not bits.take(3):
        bits.number(*side)


def _depth(bits: _Bits) -> None:
    if bits.take(1):  # floating-point
        bits.number(32, 16, 24, (6, 1))
        bits.take(4)
    else:
        bits.number(8, 10, 12, (6, 1))


def _extra_channel(bits: _Bits) -> int:
    """The kind of the next extra channel."""
    if bits.take(1):
        return _ALPHA
    kind = bits.number(*_ENUM)
    _depth(bits)
    bits.number(0, 3, 4, (3, 1))
    bits.take(8 * bits.number(0, (4, 0), (5, 16), (10, 48)))
    if kind == _ALPHA:
        bits.take(1)
    elif kind == _SPOT:
        bits.take(64)
    elif kind == _FILTER:
        bits.number(1, (2, 0), (4, 3), (8, 19))
    return kind
