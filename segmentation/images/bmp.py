"""Read BMP: palettes, colours, bit fields and run lengths, under every header of Windows and OS/2.

Pillow refuses 2 bits, most masks of colour bits, short OS/2 headers and run lengths that end early. Source:
Microsoft's documentation of BITMAPINFOHEADER, BITMAPV4HEADER and BITMAPV5HEADER, and IBM's of BITMAPINFOHEADER2.
"""

import struct
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..arrays import Pixels
from ..errors import NotAnImage, TruncatedImage
from .bit_fields import channel, is_contiguous
from .checks import ImageLimits, check_byte_count, check_size, row_bands
from .image import Image
from .pillow import as_image
from .run_lengths import expand

_MAGIC = b"BM"
_PLAIN, _RLE8, _RLE4, _MASKS, _ALPHA_MASKS = 0, 1, 2, 3, 6
_HUFFMAN, _RLE24 = 3, 4
_RARE = {4: "a JPEG inside", 5: "a PNG inside", 11: "CMYK", 12: "run-length CMYK", 13: "run-length CMYK"}
_SHORTEST, _INFO = 12, 40
_HEADERS = (_SHORTEST, *range(16, 65), 108, 124)
_DEPTHS = (1, 2, 4, 8, 16, 24, 32)
#: Masks of red, green and blue if the file has none.
_USUAL_MASKS = {16: (0x7C00, 0x3E0, 0x1F, 0), 32: (0xFF0000, 0xFF00, 0xFF, 0)}
#: Bytes of run lengths: they are expanded in Python, and take some seconds.
_MAX_RUNS = 8 * 2**20


@dataclass(frozen=True)
class _Header:
    """What a bitmap's header says."""

    #: Bytes of the header, its kind.
    size: int
    width: int
    height: int
    top_down: bool
    depth: int
    compression: int
    #: Colours in the palette; 0 if the header does not say.
    colours: int
    #: Offset of the pixels.
    pixels: int
    #: Bits of red, green, blue and alpha in a pixel's number.
    masks: tuple[int, int, int, int]
    #: Offset of the palette.
    palette: int


def is_bmp(data: bytes) -> bool:
    """Whether the bytes begin as a bitmap does. Text can begin with BM, too, but has no header's length there."""
    if len(data) < 18:
        return data.startswith(_MAGIC) and data[6:10] == bytes(4)
    return data.startswith(_MAGIC) and struct.unpack_from("<I", data, 14)[0] < 0x10000


def read_bmp(data: bytes, name: str, limits: ImageLimits) -> Image:
    """The picture: (H, W, 1), (H, W, 3) or, if a mask says which bits are alpha, (H, W, 4).

    Black and white is bool. Colours of up to 8 bits are spread over 0 to 255, of more bits over 0 to 65,535. Raises an
    `ImageError`, `NotAnImage` for rare kinds by name; `struct.error` if the header is cut short.
    """
    header = _read_header(data, name)
    check_size(header.height, header.width, name, limits)
    if header.compression in (_RLE8, _RLE4):
        return _from_run_lengths(data, header, name)
    length = (header.width * header.depth + 31) // 32 * 4
    padding = length - (header.width * header.depth + 7) // 8
    missing = header.pixels + length * header.height - len(data)
    check_byte_count(length * header.height - missing, length * header.height - padding, name)
    padded = data + bytes(missing) if missing > 0 else data  # some writers leave out the padding of the last row
    rows = np.frombuffer(padded, np.uint8, length * header.height, header.pixels).reshape(header.height, length)
    return as_image(_decoded(rows if header.top_down else rows[::-1], header, data))


def _read_header(data: bytes, name: str) -> _Header:
    offset, size = struct.unpack_from("<II", data, 10)
    if size not in _HEADERS:
        raise NotAnImage(f"{name}: a BMP with a header of {size} bytes, which maskq does not read; save it as PNG")
    if size == _SHORTEST:
        width, height, _, depth = struct.unpack_from("<HHHH", data, 18)
        compression = colours = 0
    else:
        fields = data[18 : 14 + size].ljust(36, b"\0")  # an OS/2 header may end early: the rest is zeros
        if len(data) < 14 + size:
            raise TruncatedImage(f"{name}: cut short in its header")
        width, height, _, depth, compression, _, _, _, colours = struct.unpack_from("<iiHHIIiiI", fields)
    _check_kind(size, depth, compression, name)
    if width < 0:
        raise TruncatedImage(f"{name}: damaged: a width of {width}")
    masks, after = _masks(data, size, depth, compression)
    return _Header(size, width, abs(height), height < 0, depth, compression, colours, offset or after, masks, after)


def _check_kind(size: int, depth: int, compression: int, name: str) -> None:
    """Raises `NotAnImage` for rare kinds."""
    os2 = size not in (_SHORTEST, _INFO, 52, 56, 108, 124)
    rare = {_HUFFMAN: "Huffman codes", _RLE24: "24-bit run lengths"}.get(compression) if os2 else _RARE.get(compression)
    if rare is None and depth not in _DEPTHS:
        rare = f"{depth} bits a pixel"
    if rare is None and compression not in (_PLAIN, _RLE8, _RLE4, _MASKS, _ALPHA_MASKS):
        rare = f"compression {compression}"
    if rare is None and compression in (_RLE8, _RLE4) and depth != {_RLE8: 8, _RLE4: 4}[compression]:
        rare = f"run lengths of {depth} bits"
    if rare is None and compression in (_MASKS, _ALPHA_MASKS) and depth < 16:
        rare = f"bit fields of {depth} bits"
    if rare is not None:
        raise NotAnImage(f"{name}: a BMP of {rare}, which maskq does not read; save it as PNG")


def _masks(data: bytes, size: int, depth: int, compression: int) -> tuple[tuple[int, int, int, int], int]:
    """The masks of red, green, blue and alpha, and the offset after the header and them."""
    after = 14 + size
    usual = _USUAL_MASKS.get(depth, _USUAL_MASKS[32])
    if compression not in (_MASKS, _ALPHA_MASKS):
        return usual, after
    count = 4 if size > 52 or compression == _ALPHA_MASKS else 3
    red, green, blue, alpha = (*struct.unpack_from(f"<{count}I", data, 14 + _INFO), 0)[:4]
    after = max(after, 14 + _INFO + 4 * count)
    masks = (red, green, blue, alpha) if red or green or blue else usual
    if not all(is_contiguous(mask) for mask in masks):
        raise ValueError("a BMP whose masks have gaps")
    return masks, after


def _decoded(rows: NDArray[np.uint8], header: _Header, data: bytes) -> Pixels:
    """(H, W) or (H, W, C) pixels from (H, bytes) rows, top row first."""
    height, width = header.height, header.width
    if header.depth <= 8:
        return _from_palette(rows, header, data)
    numbers = rows[:, : width * header.depth // 8].reshape(height, width, -1)
    if header.masks == _USUAL_MASKS[32] and header.depth > 16:
        colours = np.empty((height, width, 3), np.uint8)
        for index in range(3):  # four times as fast as one assignment of all
            colours[..., index] = numbers[..., 2 - index]
        return colours
    masks = header.masks if header.masks[3] else header.masks[:3]
    dtype = np.uint8 if all(mask.bit_count() <= 8 for mask in masks) else np.uint16
    pixels = np.empty((height, width, len(masks)), dtype)
    for band in row_bands(height, width):
        value = np.zeros((band.stop - band.start, width), np.uint32)
        for index in range(numbers.shape[2]):
            value |= numbers[band, :, index].astype(np.uint32) << np.uint32(8 * index)
        for index, mask in enumerate(masks):
            pixels[band, :, index] = channel(value, mask, dtype)
    return pixels


def _from_palette(rows: NDArray[np.uint8], header: _Header, data: bytes) -> Pixels:
    """The colours of palette indices; grey as (H, W) if the palette says so."""
    width, depth = header.width, header.depth
    indices = rows[:, :width]
    if depth < 8 and header.compression == _PLAIN:
        per_byte = 8 // depth
        shifts = np.arange(8 - depth, -1, -depth, dtype=np.uint8)
        used = rows[:, : -(-width // per_byte), None]
        indices = (used >> shifts & np.uint8(2**depth - 1)).reshape(len(rows), -1)[:, :width]
    colours = _palette(header, data)
    grey = np.linspace(0, 255, 2**depth, dtype=np.uint8)
    if depth in (1, 8) and np.array_equal(colours, np.repeat(grey[:, None], 3, axis=1)):
        return indices.astype(bool) if depth == 1 else indices
    return colours[indices]


def _palette(header: _Header, data: bytes) -> NDArray[np.uint8]:
    """(2^depth, 3) RGB; colours that the file lacks are black."""
    count = 2**header.depth
    step = 3 if header.size == _SHORTEST else 4
    stored = min(header.colours or count, count)
    end = min(header.palette + stored * step, header.pixels if header.pixels > header.palette else len(data))
    entries = np.frombuffer(data[header.palette : end], np.uint8)
    entries = entries[: len(entries) // step * step].reshape(-1, step)
    colours = np.zeros((count, 3), np.uint8)
    colours[: len(entries)] = entries[:, 2::-1]
    return colours


def _from_run_lengths(data: bytes, header: _Header, name: str) -> Image:
    """The picture of run lengths. Raises `NotAnImage` if there are more than take some seconds."""
    if len(data) - header.pixels > _MAX_RUNS:
        raise NotAnImage(f"{name}: a BMP of more than {_MAX_RUNS:,} bytes of run lengths; save it as PNG")
    indices = expand(data, header.pixels, header.height, header.width, header.depth, name)
    return as_image(_from_palette(indices if header.top_down else indices[::-1], header, data))
