"""Reads the values of a file as they are stored, for label images: numbers there name objects, they are no brightness.

`read_image` gives what a viewer shows: colours for palette indices, 2 and 4 bits spread over 0 to 255, WhiteIsZero
turned round. Here the part of the file that says how numbers look is replaced first: a palette by one in which the
colour of n is (n, n, n), a TIFF's photometric by BlackIsZero. Then `read_image` decodes the file, with all its checks.
"""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import NotAnImage
from . import jpeg, npy, png, read_image, tiff
from .checks import ImageLimits
from .image import Image, Stack
from .tiff.colours import BLACK_IS_ZERO, MASK, PALETTE, WHITE_IS_ZERO
from .tiff.directory import COMPRESSION, PHOTOMETRIC, Layout
from .tiff.pages import read_pages

_BMP = b"BM"
#: The palette in which the colour of n is (n, n, n).
_EQUAL = np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, axis=1)
#: In a PNG's header: offsets of its depth and its colour type, and two of these types.
_DEPTH, _COLOUR_TYPE, _GREY, _INDEXED = 24, 25, 0, 3
#: Where a BMP's header starts, and the length of the one whose palette has 3 bytes a colour.
_BMP_HEADER, _SHORT_HEADER = 14, 12
#: Compressions of TIFF that keep every number: none, the three of fax, LZW, deflate (two numbers), PackBits, PNG, LZMA,
#: Zstandard (two numbers). The others are lossy, or can be.
_LOSSLESS = frozenset({1, 2, 3, 4, 5, 8, 32946, 32773, 34925, 34926, 34933, 50000})
_JPEG_COMPRESSIONS = (6, 7)
#: Photometrics whose values are numbers of one channel.
_OF_ONE_CHANNEL = (WHITE_IS_ZERO, PALETTE, MASK)


def read_stored(data: bytes, name: str, limits: ImageLimits = ImageLimits()) -> Image | Stack:
    """Read PNG, BMP, TIFF or NumPy bytes; palette indices, bits and numbers are as stored, perhaps in equal channels.

    Raises the errors of `read_image`, and `NotAnImage` for a format or compression that can change numbers.
    """
    if data.startswith(jpeg.MAGIC):
        raise NotAnImage(f"{name}: a JPEG, which changes numbers (lossy); save labels as PNG or TIFF")
    if not data.startswith((png.MAGIC, _BMP, npy.MAGIC, *tiff.MAGIC)):
        raise NotAnImage(f"{name}: not a PNG, TIFF, BMP or NumPy file; save labels in one of these, which keep numbers")
    plain = data
    try:
        if data.startswith(tiff.MAGIC):
            plain = _plain_tiff(data, name)
        elif data.startswith(png.MAGIC):
            png.check_structure(data, name)
            plain = _plain_png(data)
        elif data.startswith(_BMP) and (place := _bmp_palette(data)):
            plain = data[: place.offset] + place.with_colours(_EQUAL) + data[place.end :]
    except struct.error:  # damaged: `read_image` says how
        plain = data
    return read_image(plain, name, limits)


def palette_of(data: bytes) -> NDArray[np.uint8] | None:
    """(n, 3) colours of a PNG's or BMP's palette, after `read_stored` has read the file; else None.

    A TIFF's palette only shows numbers, so it does not count.
    """
    if data.startswith(png.MAGIC):
        if data[_COLOUR_TYPE] != _INDEXED:
            return None
        bodies = [data[body] for kind, body in _chunks(data) if kind == b"PLTE"]
        return np.frombuffer(bodies[0] if bodies else b"", np.uint8).reshape(-1, 3)
    if data.startswith(_BMP) and (place := _bmp_palette(data)):
        entries = np.frombuffer(data[place.offset : place.end], np.uint8).reshape(-1, place.size)
        return entries[:, 2::-1]
    return None


def _plain_png(data: bytes) -> bytes:
    """The PNG with a palette of equal channels, if it has a palette or grey of less than 8 bits."""
    header = data[8:33]
    indexed, grey = (data[_COLOUR_TYPE : _COLOUR_TYPE + 1] == bytes([kind]) for kind in (_INDEXED, _GREY))
    valid = len(header) == 25 and zlib.crc32(header[4:21]) == struct.unpack(">I", header[21:])[0]
    if not valid or not (indexed or (grey and data[_DEPTH] < 8)):
        return data
    body = bytearray(header[8:21])
    body[_COLOUR_TYPE - 16] = _INDEXED
    palette = _EQUAL[: 2 ** data[_DEPTH]].tobytes()
    parts = [png.MAGIC, png.chunk(b"IHDR", bytes(body)), png.chunk(b"PLTE", palette)]
    end = 8
    for kind, place in _chunks(data):
        end = place.stop + 4
        if kind not in (b"IHDR", b"PLTE", b"tRNS"):
            parts.append(data[place.start - 8 : end])
    return b"".join([*parts, data[end:]])


def _chunks(data: bytes) -> Iterator[tuple[bytes, slice]]:
    """The kind of each whole chunk of a PNG, and where its body is."""
    offset = 8
    while offset + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, offset)
        if offset + 12 + length > len(data):
            return
        yield kind, slice(offset + 8, offset + 8 + length)
        offset += 12 + length


@dataclass(frozen=True)
class _Palette:
    """Where a BMP's palette is, and the bytes of a colour: blue, green, red, perhaps a fourth."""

    offset: int
    end: int
    size: int

    def with_colours(self, colours: NDArray[np.uint8]) -> bytes:
        """A palette of as many bytes with these colours, of equal channels."""
        entries = np.zeros((len(colours), self.size), np.uint8)
        entries[:, :3] = colours
        return entries.tobytes()[: self.end - self.offset]


def _bmp_palette(data: bytes) -> _Palette | None:
    """The palette of a BMP; None if it stores colours. Raises `struct.error` at the file's end."""
    pixels, header = struct.unpack_from("<II", data, 10)
    (depth,) = struct.unpack_from("<H", data, _BMP_HEADER + (10 if header == _SHORT_HEADER else 14))
    if depth not in (1, 2, 4, 8):
        return None
    size = 3 if header == _SHORT_HEADER else 4
    offset = _BMP_HEADER + header
    count = min(2**depth, max(0, min(pixels, len(data)) - offset) // size)
    return _Palette(offset, offset + count * size, size)


@dataclass(frozen=True)
class _Tag:
    """A tag of one integer: its value, and where it is in the file."""

    value: int
    offset: int
    code: str


def _plain_tiff(data: bytes, name: str) -> bytes:
    """The TIFF with its pages of one channel declared as BlackIsZero; thumbnails and copies stay as they are.

    Raises `NotAnImage` for a compression that can change numbers, other errors of `read_pages`, and `struct.error` at
    the file's end.
    """
    plain = bytearray(data)
    for page in read_pages(data, name).full:
        tags = dict(_tags(data, page.offset))
        _check_lossless(tags.get(COMPRESSION), name)
        photometric = tags.get(PHOTOMETRIC)
        if photometric is not None and photometric.value in _OF_ONE_CHANNEL:
            struct.pack_into(photometric.code, plain, photometric.offset, BLACK_IS_ZERO)
    return bytes(plain)


def _check_lossless(compression: _Tag | None, name: str) -> None:
    """Raises `NotAnImage` for a compression that can change numbers."""
    if compression and compression.value not in _LOSSLESS:
        lossy = compression.value in _JPEG_COMPRESSIONS
        kind = "JPEG, which changes numbers (lossy)" if lossy else "a kind that can change numbers"
        raise NotAnImage(
            f"{name}: a TIFF compressed by {kind} (number {compression.value}); save labels with LZW, deflate or none"
        )


def _tags(data: bytes, start: int) -> Iterator[tuple[int, _Tag]]:
    """Compression and photometric of a directory that `read_pages` has read, which bounds its number of tags."""
    layout = Layout.of(data)
    (number,) = struct.unpack_from(layout.count, data, start)
    begin, size = start + struct.calcsize(layout.count), struct.calcsize(layout.entry)
    for offset in range(begin, begin + number * size, size):
        tag, kind, values, raw = struct.unpack_from(layout.entry, data, offset)
        if tag in (COMPRESSION, PHOTOMETRIC) and values == 1 and kind in (1, 3, 4):
            code = layout.word[0] + {1: "B", 3: "H", 4: "I"}[kind]
            yield tag, _Tag(struct.unpack_from(code, raw)[0], offset + size - len(raw), code)
