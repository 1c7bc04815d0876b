"""The strips and tiles of a page: checks of each before it is decoded, and decoding of those that a part needs."""

import io
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from ...errors import NotAnImage, TruncatedImage
from .. import compressed_segments, jpeg

JPEG = 7
#: None, the three of fax, LZW, JPEG, deflate (two numbers), PackBits, LZMA, Zstandard (two numbers).
_PLAIN = frozenset({1, 2, 3, 4, 5, JPEG, 8, 32946, 32773, 34925, 34926, 50000})
#: Compressions whose decoder converts YCbCr to RGB: JPEG, JPEG 2000, WebP, JPEG XL and JPEG XR.
OWN_COLOURS = frozenset({JPEG, 33003, 33004, 33005, 34712, 34927, 50001, 50002, 52546, 22610, 34934})


@dataclass(frozen=True)
class Window:
    """A part of a page, pixels."""

    top: int
    left: int
    height: int
    width: int

    @classmethod
    def whole(cls, size: tuple[int, int]) -> "Window":
        """All of a page of this height and width."""
        return cls(0, 0, *size)


def check_compression(number: int, name: str) -> None:
    """Raises `NotAnImage` for a compression that maskq does not read."""
    if number not in _PLAIN and number not in compressed_segments.READABLE:
        kind = compressed_segments.NAMES.get(number, "unknown")
        raise NotAnImage(
            f"{name}: an image of compression {number} ({kind}), which maskq does not read inside TIFF; save it with "
            "deflate, LZW or no compression"
        )


def is_sparse(page: tifffile.TiffPage, size: int, name: str) -> bool:
    """Whether some strips or tiles are not stored, by their offset or length of 0, as GDAL and libtiff leave them out.

    Raises `TruncatedImage` if none is stored, or if one stands beyond the file's end, at `size` bytes.
    """
    count = math.prod(page.chunked)
    segments = list(zip(page.dataoffsets[:count], page.databytecounts[:count], strict=False))
    stored = [(offset, length) for offset, length in segments if offset > 0 and length > 0]
    if len(segments) < count or not stored or any(offset + length > size for offset, length in stored):
        raise TruncatedImage(f"{name}: cut short: {size:,} bytes end before the image does; copy or save it again")
    if sum(length for _, length in stored) > size:
        raise TruncatedImage(f"{name}: damaged: its strips or tiles overlap")
    if len(stored) == count and page.is_contiguous and stored[0][0] + page.nbytes > size:
        raise TruncatedImage(f"{name}: cut short: {size:,} bytes end before the image does; copy or save it again")
    return len(stored) < count


def check_claims(page: tifffile.TiffPage, data: bytes, part: Window, depth: int, name: str) -> None:
    """Raises an `ImageError` if a segment that the part needs claims more pixels than its place in the page has."""
    compression = page.compression
    if compression != JPEG and compression not in compressed_segments.READABLE:
        return
    height, width = (page.tilelength, page.tilewidth) if page.is_tiled else (page.rowsperstrip, page.imagewidth)
    for index in _needed(page, part, depth):
        offset, length = page.dataoffsets[index], page.databytecounts[index]
        if offset <= 0 or length <= 0:
            continue
        segment = data[offset : offset + length]
        if compression == JPEG:
            _check_jpeg(segment, height * width, name)
        else:
            compressed_segments.check_segment(compression, segment, height * width, page.shaped[-1], name)


def decode(page: tifffile.TiffPage, data: bytes, part: Window, depth: int, missing: int) -> NDArray[np.generic]:
    """(separate samples, height, width, interleaved samples) of a part of one plane.

    Segments that are not stored have the value `missing`, whose bits are those of an unsigned integer.
    """
    assert page.dtype is not None
    value = np.array(missing).astype(page.dtype)  # in a signed type, all bits set are -1
    result = np.full((page.shaped[0], part.height, part.width, page.shaped[-1]), value, page.dtype)
    options = {} if page.jpegtables is None else {"jpegtables": page.jpegtables}
    for index in _needed(page, part, depth):
        offset, length = page.dataoffsets[index], page.databytecounts[index]
        if offset <= 0 or length <= 0:
            continue
        segment, (sample, first, top, left, _), _ = page.decode(data[offset : offset + length], index, **options)
        assert segment is not None
        plane = segment[depth - first]
        rows = slice(max(top, part.top), min(top + plane.shape[0], part.top + part.height))
        columns = slice(max(left, part.left), min(left + plane.shape[1], part.left + part.width))
        result[
            sample,
            rows.start - part.top : rows.stop - part.top,
            columns.start - part.left : columns.stop - part.left,
        ] = plane[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
    return result


def _needed(page: tifffile.TiffPage, part: Window, depth: int) -> Iterator[int]:
    """The numbers of the segments that hold a part of one plane, in the order that TIFF numbers them."""
    height, width, layers = page.rowsperstrip, page.imagewidth, 1
    if page.is_tiled:
        height, width, layers = page.tilelength, page.tilewidth, page.tiledepth
    down, across = math.ceil(page.imagelength / height), math.ceil(page.imagewidth / width)
    deep = math.ceil(page.imagedepth / layers)
    for sample in range(page.shaped[0]):
        for row in range(part.top // height, math.ceil((part.top + part.height) / height)):
            for column in range(part.left // width, math.ceil((part.left + part.width) / width)):
                yield ((sample * deep + depth // layers) * down + row) * across + column


def _check_jpeg(segment: bytes, max_pixels: int, name: str) -> None:
    """Raises an `ImageError` if a strip or tile is not a JPEG of at most `max_pixels`."""
    jpeg.check_structure(segment, name)
    try:
        with Image.open(io.BytesIO(segment), formats=("JPEG",)) as image:
            size = image.size
    except UnidentifiedImageError as error:
        jpeg.check_kind(segment, name)
        raise TruncatedImage(f"{name}: damaged: a strip or tile is no JPEG") from error
    if size[0] * size[1] > max_pixels:
        raise TruncatedImage(f"{name}: damaged: a tile of {max_pixels:,} pixels holds a JPEG of {size}")
