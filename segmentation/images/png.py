"""Check a PNG's structure, and read PNGs of several 16-bit channels, which Pillow would reduce to 8 bits."""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from ..arrays import Pixels
from ..errors import ImageTooLarge, NotAnImage, TruncatedImage
from .checks import check_byte_count, row_bands

MAGIC = b"\x89PNG\r\n\x1a\n"
#: The header's colour type → channels: RGB, grey with alpha, RGB with alpha.
_CHANNELS = {2: 3, 4: 2, 6: 4}
_GREY, _PALETTE = 0, 3
#: Bits of a channel, by colour type.
_DEPTHS = {_GREY: (1, 2, 4, 8, 16), 2: (8, 16), _PALETTE: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
_LAST_FILTER = 4
#: libpng's limit of height and width.
_MAX_SIDE = 1_000_000
#: Deflate expands a byte to at most this many bytes.
_MAX_EXPANSION = 1032
#: Chunks of pixels, and other chunks. A chunk can be as short as twelve bytes, and Pillow keeps most of the others.
_MAX_PIXEL_CHUNKS, _MAX_OTHER_CHUNKS = 1_000_000, 10_000
#: The seven passes of an interlaced PNG: first row, first column, row step, column step.
_ADAM7 = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))


@dataclass(frozen=True)
class Header:
    """The header of a PNG."""

    height: int
    width: int
    #: Bits of a channel or palette index.
    depth: int
    #: The colour type: 0 grey, 2 RGB, 3 palette, 4 grey and alpha, 6 RGB and alpha.
    colour: int
    interlaced: bool

    @property
    def channels(self) -> int:
        """Channels of the decoded image; a palette becomes RGB."""
        return {_GREY: 1, _PALETTE: 3}.get(self.colour) or _CHANNELS[self.colour]

    def row_length(self, width: int) -> int:
        """Bytes of a row of this many pixels, with the number of its filter."""
        channels = 1 if self.colour == _PALETTE else self.channels
        return 1 + -(-width * channels * self.depth // 8)

    def passes(self) -> Iterator[tuple[int, int, int, int]]:
        """First row, first column, row step and column step of each pass that holds pixels."""
        for top, left, row_step, column_step in _ADAM7 if self.interlaced else ((0, 0, 1, 1),):
            if top < self.height and left < self.width:
                yield top, left, row_step, column_step


def read_header(data: bytes, name: str) -> Header:
    """The header of a PNG. Raises `TruncatedImage`, or `struct.error` at the end of the bytes."""
    if not data.startswith(MAGIC) or data[12:16] != b"IHDR":
        raise TruncatedImage(f"{name}: damaged: no PNG header where there should be one")
    width, height, depth, colour, _, _, interlaced = struct.unpack_from(">IIBBBBB", data, 16)
    if depth not in _DEPTHS.get(colour, ()):
        raise TruncatedImage(f"{name}: damaged: a PNG of colour type {colour} and {depth} bits")
    return Header(height, width, depth, colour, bool(interlaced))


def check_pixels(data: bytes, header: Header, name: str) -> None:
    """Raises an `ImageError` if libpng would fail on the chunks or pixels; `read_deep_colour` says why."""
    stream, has_palette = [], False
    for kind, body in _chunks(data, name):
        if kind == b"IDAT":
            stream.append(body)
        elif kind == b"PLTE":
            has_palette = not stream and 3 <= len(body) <= 768 and len(body) % 3 == 0
        elif kind not in (b"IHDR", b"IEND") and not kind[0] & 32:
            raise NotAnImage(f"{name}: a PNG with a chunk of the unknown kind {kind!r}; save it anew")
    if header.colour == _PALETTE and not has_palette:
        raise TruncatedImage(f"{name}: damaged: a PNG without its palette")
    rows = _Rows(b"".join(stream), name)
    for top, left, row_step, column_step in header.passes():
        height, width = -(-(header.height - top) // row_step), -(-(header.width - left) // column_step)
        for band in row_bands(height, width):
            rows.take(band.stop - band.start, header.row_length(width))


def check_structure(data: bytes, name: str) -> None:
    """Raises `NotAnImage` if a PNG has more chunks than any real picture."""
    pixel_chunks, other_chunks, offset = 0, 0, 8
    while offset + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, offset)
        offset += 12 + length
        pixel_chunks += kind == b"IDAT"
        other_chunks += kind != b"IDAT"
        if pixel_chunks > _MAX_PIXEL_CHUNKS or other_chunks > _MAX_OTHER_CHUNKS:
            raise NotAnImage(
                f"{name}: a PNG of more than {_MAX_PIXEL_CHUNKS:,} chunks of pixels or {_MAX_OTHER_CHUNKS:,} others; "
                f"save it anew"
            )
        if kind == b"IEND":
            return


def is_deep_colour(data: bytes) -> bool:
    """Whether a PNG has several 16-bit channels, by its header."""
    return data.startswith(MAGIC) and len(data) > 25 and data[24] == 16 and data[25] in _CHANNELS


def read_deep_colour(data: bytes, name: str) -> Pixels:
    """(H, W, C) uint16 pixels of a PNG. Raises an `ImageError`, or any exception on damaged bytes.

    libpng leaves a damaged stream by a long jump, and with each jump imagecodecs loses a reference to None; the process
    dies with the last one. So the stream is inflated and checked here, and imagecodecs gets new files of valid rows,
    one per band: in a single file, a whole image would be in memory five times.
    """
    stream = b"".join(body for kind, body in _chunks(data, name) if kind == b"IDAT")
    width, height, _, colour, _, _, interlaced = struct.unpack_from(">IIBBBBB", data, 16)
    if max(width, height) > _MAX_SIDE:
        raise ImageTooLarge(f"{name}: {height}×{width}, over the limit of {_MAX_SIDE:,} a side in 16-bit colour PNG")
    channels = _CHANNELS[colour]
    check_byte_count(_MAX_EXPANSION * len(stream), 2 * channels * height * width, name)
    pixels = np.empty((height, width, channels), np.uint16)
    rows = _Rows(stream, name)
    for top, left, row_step, column_step in _ADAM7 if interlaced else ((0, 0, 1, 1),):
        part = pixels[top::row_step, left::column_step]
        if part.size:
            _fill(part, rows, colour)
    return pixels


class _Rows:
    """Inflates a stream of rows step by step."""

    def __init__(self, stream: bytes, name: str) -> None:
        self._inflater, self._remaining, self._name = zlib.decompressobj(), stream, name

    def take(self, count: int, length: int) -> bytes:
        """The next `count` rows: each a filter number and `length - 1` bytes. Raises `TruncatedImage`."""
        raw = self._inflater.decompress(self._remaining, count * length)
        self._remaining = self._inflater.unconsumed_tail
        check_byte_count(len(raw), count * length, self._name)
        if max(raw[::length]) > _LAST_FILTER:
            raise TruncatedImage(f"{self._name}: damaged: a row is filtered by no method of PNG")
        return raw


def _fill(part: NDArray[np.uint16], rows: _Rows, colour: int) -> None:
    """Decode the next rows into (H, W, C) pixels, one band at a time."""
    height, width, channels = part.shape
    above = b""  # filters refer to the row above: each band starts with the last row of the previous one, unfiltered
    for band in row_bands(height, width):
        count = band.stop - band.start
        raw = above + rows.take(count, 1 + 2 * channels * width)
        decoded = np.asarray(imagecodecs.png_decode(_png(width, count + bool(above), colour, raw)))
        part[band] = decoded[-count:]
        above = b"\0" + decoded[-1].astype(">u2").tobytes()


def _png(width: int, height: int, colour: int, raw: bytes) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 16, colour, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(raw, 0)), (b"IEND", b""))
    return MAGIC + b"".join(chunk(*part) for part in chunks)


def chunk(kind: bytes, body: bytes) -> bytes:
    """A chunk with its length and checksum."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _chunks(data: bytes, name: str) -> Iterator[tuple[bytes, bytes]]:
    """The kind and body of each chunk up to the last; checksums of header and pixels are verified."""
    offset, kind = 8, b""
    while kind != b"IEND":
        length, kind = struct.unpack_from(">I4s", data, offset)
        body, end = data[offset + 8 : offset + 8 + length], offset + 12 + length
        if end > len(data):
            raise TruncatedImage(f"{name}: cut short: {len(data):,} bytes end before the image does")
        if (kind == b"IHDR") != (offset == 8):
            raise TruncatedImage(f"{name}: damaged: its header is not its first chunk")
        if kind in (b"IHDR", b"IDAT") and data[offset:end] != chunk(kind, body):
            raise TruncatedImage(f"{name}: damaged: the checksum of its {kind.decode()} is wrong")
        yield kind, body
        offset = end
