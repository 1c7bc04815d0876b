"""TIFF and BigTIFF of one page: the tags checked first, the pixels by tifffile."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import tifffile
from PIL import Image, UnidentifiedImageError

from ..arrays import Pixels
from ..errors import ImageTooLarge, MultiPageImage, NotAnImage, TruncatedImage
from . import jpeg
from . import tiff_directory as directory
from .checks import ImageLimits, bands, check_channels, check_size
from .orientation import EXIF_ORIENTATION, upright

MAGIC = directory.MAGIC
_JPEG, _CMYK, _YCBCR = 7, 5, 6
#: None, the three of fax, LZW, JPEG, deflate (two numbers), PackBits, LZMA, Zstandard (two numbers). The rest are
#: rare, and decode images whose own headers may claim any size.
_COMPRESSIONS = frozenset({1, 2, 3, 4, 5, _JPEG, 8, 32946, 32773, 34925, 34926, 50000})
#: WhiteIsZero (kept as the file holds it), BlackIsZero, RGB, palette, mask, CMYK; YCbCr only inside JPEG.
_PHOTOMETRICS = frozenset({0, 1, 2, 3, 4, _CMYK})
#: Bytes of a strip or tile that are fine whatever the limit: a small image may stand in a larger tile.
_USUAL_TILE = 16 * 2**20
#: All tiles together may be so many times the largest image: two rows and columns of tiles, each used by a pixel.
_MOST_PADDING = 4
# What files of these makers say beyond TIFF is no concern here, and parsing it trusts them.
_NO_MAKERS: dict[str, Any] = {f"is_{flag}": False for flag in tifffile.TIFF.FILE_FLAGS}


def read(data: bytes, name: str, limits: ImageLimits) -> Pixels:
    """(H, W) or (H, W, C) pixels, upright. Raises an `ImageError`, or anything on damaged bytes."""
    found = directory.read_directory(data, name)
    tags = found.tags
    if found.another:
        raise MultiPageImage(f"{name}: a TIFF of more than one page; send each page as an image of its own")
    if tags.get(directory.DEPTH, 1) > 1:
        raise MultiPageImage(f"{name}: a volume of {tags[directory.DEPTH]} planes; send each plane by itself")
    check_size(tags.get(directory.HEIGHT, 0), tags.get(directory.WIDTH, 0), name, limits)
    check_channels(tags.get(directory.SAMPLES, 1), name)
    _check_kind(tags, name)
    # Closed, for tifffile's circles of references would keep it until they are collected.
    with found.lean, tifffile.TiffFile(found.lean, **_NO_MAKERS) as tiff:
        page = tiff.pages.first
        _check_page(page, data, name, limits)
        return upright(_pixels(page, tags, name), tags.get(EXIF_ORIENTATION, 1))


def _pixels(page: tifffile.TiffPage, tags: Mapping[int, int], name: str) -> Pixels:
    """The page's pixels with channels last, palette and inks turned into colours."""
    pixels: Pixels = page.asarray(maxworkers=1)
    if page.photometric == tifffile.PHOTOMETRIC.PALETTE and page.colormap is not None:
        pixels = np.moveaxis(page.colormap[:, pixels], 0, -1)
    elif page.planarconfig == tifffile.PLANARCONFIG.SEPARATE and pixels.ndim == 3:
        pixels = np.moveaxis(pixels, 0, -1)
    return _from_cmyk(pixels, name) if tags.get(directory.PHOTOMETRIC) == _CMYK else pixels


def _check_kind(tags: Mapping[int, int], name: str) -> None:
    compression, photometric = tags.get(directory.COMPRESSION, 1), tags.get(directory.PHOTOMETRIC, 1)
    if compression not in _COMPRESSIONS:
        raise NotAnImage(f"{name}: a TIFF of compression {compression}, which maskq does not read; try deflate or LZW")
    if photometric not in _PHOTOMETRICS and (photometric, compression) != (_YCBCR, _JPEG):
        raise NotAnImage(f"{name}: a TIFF of colour space {photometric}, which maskq does not read; try grey or RGB")


def _check_page(page: tifffile.TiffPage, data: bytes, name: str, limits: ImageLimits) -> None:
    """Raises an `ImageError` for a page that has too many bytes or not all of them."""
    if page.dtype is None:
        raise NotAnImage(f"{name}: a TIFF with {page.bitspersample} bits a sample, which maskq does not read")
    most = max(limits.max_decoded, _USUAL_TILE)
    _check_bytes(page.shape, page.dtype, limits.max_decoded, name)
    _check_bytes(page.chunks, page.dtype, most, name)
    _check_bytes((*page.chunked, *page.chunks), page.dtype, _MOST_PADDING * most, name)
    _check_segments(page, data, name)


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
        for offset, count in segments:
            _check_jpeg(data[offset : offset + count], page.chunks[0] * page.chunks[1], name)


def _check_jpeg(tile: bytes, most: int, name: str) -> None:
    """Raises an `ImageError` for what is no JPEG of up to `most` pixels."""
    jpeg.check_structure(tile, name)
    try:
        with Image.open(io.BytesIO(tile), formats=("JPEG",)) as image:
            size = image.size
    except UnidentifiedImageError as error:
        raise TruncatedImage(f"{name}: damaged: a strip or tile is no JPEG, or one of a rare kind") from error
    if size[0] * size[1] > most:
        raise TruncatedImage(f"{name}: damaged: a tile of {most:,} pixels holds a JPEG of {size}")


def _from_cmyk(pixels: Pixels, name: str) -> Pixels:
    """(H, W, C ≥ 4) unsigned ink → (H, W, 3) light."""
    if pixels.ndim != 3 or pixels.shape[2] < 4 or pixels.dtype.kind != "u":
        raise NotAnImage(f"{name}: a CMYK TIFF of shape {pixels.shape} and type {pixels.dtype}; try RGB")
    most = 256**pixels.dtype.itemsize - 1
    light = np.empty((*pixels.shape[:2], 3), pixels.dtype)
    for band in bands(*pixels.shape[:2]):
        ink = pixels[band, :, :4].astype(np.float32) / most
        light[band] = np.rint((1 - ink[..., :3]) * (1 - ink[..., 3:]) * most)
    return light
