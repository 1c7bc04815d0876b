"""TIFF and BigTIFF of one page: the tags read here first, the pixels by tifffile."""

from __future__ import annotations

import io
import math
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np
import tifffile
from PIL import Image

from ..errors import ImageTooLarge, MultiPageImage, NotAnImage, TruncatedImage
from .checks import ImageLimits, Pixels, check_channels, check_size
from .orientation import EXIF_ORIENTATION, upright

MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_WIDTH, _HEIGHT, _COMPRESSION, _PHOTOMETRIC, _SAMPLES, _PLANAR = 256, 257, 259, 262, 277, 284
_TILE_WIDTH, _TILE_HEIGHT, _DEPTH, _TILE_DEPTH = 322, 323, 32997, 32998
_SINGLE_TAGS = frozenset({
    _WIDTH, _HEIGHT, _COMPRESSION, _PHOTOMETRIC, _SAMPLES, _PLANAR, _TILE_WIDTH, _TILE_HEIGHT, _DEPTH, _TILE_DEPTH,
    266, EXIF_ORIENTATION, 317,
})  # fmt: skip
_INTEGER_TYPES = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q"}
_JPEG, _CMYK, _YCBCR = 7, 5, 6
#: None, the three of fax, LZW, JPEG, deflate (two numbers), PackBits, LZMA, Zstandard (two numbers). The rest are
#: rare, and decode images whose own headers may claim any size.
_COMPRESSIONS = frozenset({1, 2, 3, 4, 5, _JPEG, 8, 32946, 32773, 34925, 34926, 50000})
#: WhiteIsZero (kept as the file holds it), BlackIsZero, RGB, palette, mask, CMYK; YCbCr only inside JPEG.
_PHOTOMETRICS = frozenset({0, 1, 2, 3, 4, _CMYK})
#: Bytes of a strip or tile that are fine whatever the limit: a small image may stand in a larger tile.
_USUAL_TILE = 16 * 2**20
# What files of these makers say beyond TIFF is no concern here, and parsing it trusts them.
_NO_MAKERS: dict[str, Any] = {f"is_{flag}": False for flag in tifffile.TIFF.FILE_FLAGS}


def read(data: bytes, name: str, limits: ImageLimits) -> Pixels:
    """(H, W) or (H, W, C) pixels, upright. Raises an `ImageError`, or anything on damaged bytes."""
    tags, another = _directory(data, name)
    if another:
        raise MultiPageImage(f"{name}: a TIFF of more than one page; send each page as an image of its own")
    if tags.get(_DEPTH, 1) > 1:
        raise MultiPageImage(f"{name}: a volume of {tags[_DEPTH]} planes; send each plane by itself")
    check_size(tags.get(_HEIGHT, 0), tags.get(_WIDTH, 0), name, limits)
    check_channels(tags.get(_SAMPLES, 1), name)
    _check_kind(tags, name)
    with tifffile.TiffFile(io.BytesIO(data), **_NO_MAKERS) as tiff:
        page = tiff.pages.first
        if page.dtype is None:
            raise NotAnImage(f"{name}: a TIFF with {page.bitspersample} bits a sample, which maskq does not read")
        _check_bytes(page.shape, page.dtype, limits.max_decoded, name)
        _check_bytes(page.chunks, page.dtype, max(limits.max_decoded, _USUAL_TILE), name)
        _check_segments(page, data, name)
        pixels = page.asarray(maxworkers=1)
        if page.photometric == tifffile.PHOTOMETRIC.PALETTE and page.colormap is not None:
            pixels = np.moveaxis(page.colormap[:, pixels], 0, -1)
        elif page.planarconfig == tifffile.PLANARCONFIG.SEPARATE and pixels.ndim == 3:
            pixels = np.moveaxis(pixels, 0, -1)
        if tags.get(_PHOTOMETRIC) == _CMYK:
            pixels = _from_cmyk(pixels, name)
        return upright(pixels, tags.get(EXIF_ORIENTATION, 1))


def _directory(data: bytes, name: str) -> tuple[Mapping[int, int], bool]:
    """The tags that shape the first image, and whether there is a second.

    Read before tifffile sees the file: it multiplies what it finds, be it a tuple, and follows pages without end.
    """
    order, big = "<" if data[:1] == b"I" else ">", b"+" in data[2:4]
    word, entry, offset_at = ("Q", "HHQ8s", 8) if big else ("I", "HHI4s", 4)
    (start,) = struct.unpack_from(order + word, data, offset_at)
    (count,) = struct.unpack_from(order + ("Q" if big else "H"), data, start)
    start += 8 if big else 2
    end = start + count * struct.calcsize(order + entry)
    (following,) = struct.unpack_from(order + word, data, end)
    tags: dict[int, int] = {}
    for tag, kind, values, raw in struct.iter_unpack(order + entry, data[start:end]):
        if tag in _SINGLE_TAGS:
            if tag in tags or values != 1 or kind not in _INTEGER_TYPES:
                raise TruncatedImage(f"{name}: damaged: its TIFF tag {tag} is not one integer")
            (tags[tag],) = struct.unpack_from(order + _INTEGER_TYPES[kind], raw)
    return tags, following != 0


def _check_kind(tags: Mapping[int, int], name: str) -> None:
    compression, photometric = tags.get(_COMPRESSION, 1), tags.get(_PHOTOMETRIC, 1)
    if compression not in _COMPRESSIONS:
        raise NotAnImage(f"{name}: a TIFF of compression {compression}, which maskq does not read; try deflate or LZW")
    if photometric not in _PHOTOMETRICS and (photometric, compression) != (_YCBCR, _JPEG):
        raise NotAnImage(f"{name}: a TIFF of colour space {photometric}, which maskq does not read; try grey or RGB")


def _check_bytes(shape: tuple[int, ...], dtype: np.dtype[Any], most: int, name: str) -> None:
    size = math.prod(shape) * dtype.itemsize
    if size > most:
        raise ImageTooLarge(f"{name}: {shape} {dtype} is {size:,} bytes of pixels, over the limit of {most:,} bytes")


def _check_segments(page: tifffile.TiffPage, data: bytes, name: str) -> None:
    """Missing pieces are refused: tifffile fills a strip or tile that is not there with zeros."""
    wanted = math.prod(page.chunked)
    segments = list(zip(page.dataoffsets[:wanted], page.databytecounts[:wanted], strict=False))
    if len(segments) < wanted or any(o <= 0 or n <= 0 or o + n > len(data) for o, n in segments):
        raise TruncatedImage(f"{name}: cut short: {len(data):,} bytes end before the image does")
    if sum(page.databytecounts[:wanted]) > len(data):
        raise TruncatedImage(f"{name}: damaged: its strips or tiles overlap")
    if page.compression == _JPEG:
        most = page.chunks[0] * page.chunks[1]
        for offset, count in segments:
            with Image.open(io.BytesIO(data[offset : offset + count]), formats=("JPEG",)) as tile:
                if tile.width * tile.height > most:
                    raise TruncatedImage(f"{name}: damaged: a tile of {most:,} pixels holds a JPEG of {tile.size}")


def _from_cmyk(pixels: Pixels, name: str) -> Pixels:
    """(H, W, C ≥ 4) unsigned ink → (H, W, 3) light."""
    if pixels.ndim != 3 or pixels.shape[2] < 4 or pixels.dtype.kind != "u":
        raise NotAnImage(f"{name}: a CMYK TIFF of shape {pixels.shape} and type {pixels.dtype}; try RGB")
    most = 256**pixels.dtype.itemsize - 1
    ink = pixels[..., :4].astype(np.float32) / most
    light: Pixels = np.rint((1 - ink[..., :3]) * (1 - ink[..., 3:]) * most).astype(pixels.dtype)
    return light
