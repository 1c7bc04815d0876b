"""Read TIFF and BigTIFF of one page: checks the tags first, then decodes the pixels with tifffile."""

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
from .checks import EXIF_ORIENTATION, ImageLimits, check_channels, check_size, row_bands, upright

MAGIC = directory.MAGIC
_JPEG, _CMYK, _YCBCR = 7, 5, 6
#: None, the three of fax, LZW, JPEG, deflate (two numbers), PackBits, LZMA, Zstandard (two numbers). The others are
#: rare, and the headers inside their data can claim any size.
_COMPRESSIONS = frozenset({1, 2, 3, 4, 5, _JPEG, 8, 32946, 32773, 34925, 34926, 50000})
#: WhiteIsZero (kept as stored), BlackIsZero, RGB, palette, mask, CMYK; YCbCr only inside JPEG.
_PHOTOMETRICS = frozenset({0, 1, 2, 3, 4, _CMYK})
#: Bytes of a strip or tile that are accepted under any limit: a small image can be stored in a larger tile.
_USUAL_TILE = 16 * 2**20
#: All tiles together may be this many times the largest image: the worst case is 2 × 2 tiles with one used pixel each.
_MAX_PADDING = 4
# Turns off the parsers of vendor formats: maskq does not use their metadata, and parsing it means trusting it.
_NO_VENDORS: dict[str, Any] = {f"is_{flag}": False for flag in tifffile.TIFF.FILE_FLAGS}


def read_tiff(data: bytes, name: str, limits: ImageLimits) -> Pixels:
    """(H, W) or (H, W, C) pixels, upright. Raises an `ImageError`, or any exception on damaged bytes."""
    first = directory.read_directory(data, name)
    tags = first.tags
    if first.has_next:
        raise MultiPageImage(f"{name}: a TIFF of more than one page; send each page as a separate image")
    if tags.get(directory.DEPTH, 1) > 1:
        raise MultiPageImage(f"{name}: a volume of {tags[directory.DEPTH]} planes; send each plane as a separate image")
    check_size(tags.get(directory.HEIGHT, 0), tags.get(directory.WIDTH, 0), name, limits)
    check_channels(tags.get(directory.SAMPLES, 1), name)
    _check_kind(tags, name)
    # Closing frees the stream now: reference cycles in tifffile would keep it until the next garbage collection.
    with first.stripped, tifffile.TiffFile(first.stripped, **_NO_VENDORS) as tiff:
        page = tiff.pages.first
        _check_page(page, data, name, limits)
        return upright(_pixels(page, tags, name), tags.get(EXIF_ORIENTATION, 1))


def _pixels(page: tifffile.TiffPage, tags: Mapping[int, int], name: str) -> Pixels:
    """The page's pixels with channels last; a palette and CMYK become RGB."""
    pixels: Pixels = page.asarray(maxworkers=1)
    if page.photometric == tifffile.PHOTOMETRIC.PALETTE and page.colormap is not None:
        pixels = np.moveaxis(page.colormap[:, pixels], 0, -1)
    elif page.planarconfig == tifffile.PLANARCONFIG.SEPARATE and pixels.ndim == 3:
        pixels = np.moveaxis(pixels, 0, -1)
    return _from_cmyk(pixels, name) if tags.get(directory.PHOTOMETRIC) == _CMYK else pixels


def _check_kind(tags: Mapping[int, int], name: str) -> None:
    """Raises `NotAnImage` for a compression or colour space that maskq does not read."""
    compression, photometric = tags.get(directory.COMPRESSION, 1), tags.get(directory.PHOTOMETRIC, 1)
    if compression not in _COMPRESSIONS:
        raise NotAnImage(f"{name}: a TIFF of compression {compression}, which maskq does not read; try deflate or LZW")
    if photometric not in _PHOTOMETRICS and (photometric, compression) != (_YCBCR, _JPEG):
        raise NotAnImage(f"{name}: a TIFF of colour space {photometric}, which maskq does not read; try grey or RGB")


def _check_page(page: tifffile.TiffPage, data: bytes, name: str, limits: ImageLimits) -> None:
    """Raises an `ImageError` if the page has too many bytes or misses some."""
    if page.dtype is None:
        raise NotAnImage(f"{name}: a TIFF with {page.bitspersample} bits a sample, which maskq does not read")
    tile_limit = max(limits.max_decoded, _USUAL_TILE)
    _check_bytes(page.shape, page.dtype, limits.max_decoded, name)
    _check_bytes(page.chunks, page.dtype, tile_limit, name)
    _check_bytes((*page.chunked, *page.chunks), page.dtype, _MAX_PADDING * tile_limit, name)
    _check_segments(page, data, name)


def _check_bytes(shape: tuple[int, ...], dtype: np.dtype[Any], limit: int, name: str) -> None:
    size = math.prod(shape) * dtype.itemsize
    if size > limit:
        raise ImageTooLarge(f"{name}: {shape} {dtype} is {size:,} bytes of pixels, over the limit of {limit:,} bytes")


def _check_segments(page: tifffile.TiffPage, data: bytes, name: str) -> None:
    """Raises `TruncatedImage` if a strip or tile is missing: tifffile would fill it with zeros."""
    count = math.prod(page.chunked)
    segments = list(zip(page.dataoffsets[:count], page.databytecounts[:count], strict=False))
    if len(segments) < count or any(o <= 0 or n <= 0 or o + n > len(data) for o, n in segments):
        raise TruncatedImage(f"{name}: cut short: {len(data):,} bytes end before the image does")
    if sum(page.databytecounts[:count]) > len(data):
        raise TruncatedImage(f"{name}: damaged: its strips or tiles overlap")
    if page.compression == _JPEG:
        for offset, size in segments:
            _check_jpeg(data[offset : offset + size], page.chunks[0] * page.chunks[1], name)


def _check_jpeg(tile: bytes, max_pixels: int, name: str) -> None:
    """Raises an `ImageError` if a strip or tile is not a JPEG of at most `max_pixels`."""
    jpeg.check_structure(tile, name)
    try:
        with Image.open(io.BytesIO(tile), formats=("JPEG",)) as image:
            size = image.size
    except UnidentifiedImageError as error:
        raise TruncatedImage(f"{name}: damaged: a strip or tile is no JPEG, or one of a rare kind") from error
    if size[0] * size[1] > max_pixels:
        raise TruncatedImage(f"{name}: damaged: a tile of {max_pixels:,} pixels holds a JPEG of {size}")


def _from_cmyk(pixels: Pixels, name: str) -> Pixels:
    """(H, W, C ≥ 4) unsigned CMYK → (H, W, 3) RGB. Raises `NotAnImage` for other arrays."""
    if pixels.ndim != 3 or pixels.shape[2] < 4 or pixels.dtype.kind != "u":
        raise NotAnImage(f"{name}: a CMYK TIFF of shape {pixels.shape} and type {pixels.dtype}; try RGB")
    full = 256**pixels.dtype.itemsize - 1
    rgb = np.empty((*pixels.shape[:2], 3), pixels.dtype)
    for band in row_bands(*pixels.shape[:2]):
        ink = pixels[band, :, :4].astype(np.float32) / full
        rgb[band] = np.rint((1 - ink[..., :3]) * (1 - ink[..., 3:]) * full)
    return rgb
