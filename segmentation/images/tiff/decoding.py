"""Decode one page of a TIFF with tifffile, after checks of its tags."""

import math
import struct
from dataclasses import dataclass, replace
from typing import IO, Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from ...arrays import Pixels
from ...errors import ImageTooLarge, InapplicableOption, NotAnImage
from .. import compressed_segments, isolated
from ..checks import ImageLimits, check_channels, check_size
from ..image import ChannelKind, Image
from . import colours, jpeg2000_colours, segments
from .directory import PHOTOMETRIC, PLANAR, SAMPLE_FORMAT, Directory, Entry
from .no_data import without_no_data
from .page_file import page_file
from .segments import Window
from .uncompressed import read_uncompressed

#: Bytes of a strip or tile that are accepted under any limit: a small image can be stored in a larger tile.
_USUAL_TILE = 16 * 2**20
#: All tiles together may be this many times the largest image: the worst case is 2 × 2 tiles with one used pixel each.
_MAX_PADDING = 4
#: Bits of packed integers; readers disagree about the byte order of more, such as 24.
_MAX_PACKED = 16
#: The value of tag 284 of a page that stores each sample by itself.
_BY_BAND = 2
#: TIFF's numbers of complex sample formats.
_COMPLEX = frozenset({5, 6})
# Turns off the parsers of vendor formats: parsing their metadata means trusting it. As attributes of a class they cost
# nothing for each file.
_PlainTiffFile: type[tifffile.TiffFile] = type(
    "_PlainTiffFile", (tifffile.TiffFile,), {f"is_{flag}": False for flag in tifffile.TIFF.FILE_FLAGS}
)
_SPARSE = "Strips or tiles that the TIFF does not store were taken as zeros."


@dataclass(frozen=True)
class PlaneSource:
    """Where a plane of pixels is stored."""

    page: Directory
    #: The number of the plane, from 0, in a page of ImageDepth.
    depth: int = 0
    #: The number of the plane, from 0, among those that stand one after another behind the page's own.
    following: int = 0
    #: The number of the sample, from 0, that is this plane, if each sample of a pixel is a plane of its own.
    sample: int | None = None

    @property
    def samples(self) -> int:
        """Samples per pixel of the plane."""
        return self.page.samples if self.sample is None else 1


def read_plane(data: bytes, source: PlaneSource, window: Window | None, name: str, limits: ImageLimits) -> Image:
    """A plane, or the part of it in the window. Raises an `ImageError`, or any exception on damaged bytes."""
    page = source.page
    part = window or Window.whole(page.size)
    check_size(part.height, part.width, name, limits)
    check_channels(source.samples, name)
    check_kind(page, data, name)
    sparse = False
    samples = read_uncompressed(page, data, source.following, part, name, limits, source.sample)
    if samples is None:
        samples, sparse = _decoded(data, source, window, name, limits)
    pixels: Pixels = np.moveaxis(samples[..., 0], 0, -1) if samples.shape[0] > 1 else samples[0]
    pixels = jpeg2000_colours.to_rgb(pixels, page, data, name)
    if source.sample is not None and pixels.shape[2] > 1:
        pixels = np.ascontiguousarray(pixels[..., source.sample, None])
    image = without_no_data(colours.interpreted(pixels, page, data, name), pixels, page, data)
    if source.sample is not None:
        image = replace(image, kind=ChannelKind.GREY)
    return replace(image, notes=(*image.notes, _SPARSE)) if sparse else image


def _decoded(
    data: bytes, source: PlaneSource, window: Window | None, name: str, limits: ImageLimits
) -> tuple[NDArray[Any], bool]:
    """(separate samples, H, W, interleaved samples) as tifffile decodes them, and whether some are not stored."""
    page = source.page
    part = window or Window.whole(page.size)
    # Closing frees the stream now: reference cycles in tifffile would keep it until the next garbage collection.
    with page_file(data, page.layout, _entries(page)) as file, _PlainTiffFile(file, is_ndpi=False) as tiff:
        stored = tiff.pages.first
        _check_page(stored, part, name, limits)
        sparse = segments.is_sparse(stored, len(data), name)
        segments.check_claims(stored, data, part, source.depth, name)
        if stored.compression in compressed_segments.ISOLATED:
            return _isolated(stored, file, part, name, limits), sparse
        if sparse or window is not None or stored.imagedepth > 1:
            return segments.decode(stored, data, part, source.depth, colours.darkest(page, data)), sparse
        return stored.asarray(maxworkers=1, squeeze=False)[:, 0], sparse


def _entries(page: Directory) -> tuple[Entry, ...]:
    """The tags for tifffile. It decodes JPEGs of one band each only if they are grey, and YCbCr only in JPEG."""
    if page.compression == segments.JPEG and page.tags.get(PLANAR, 1) == _BY_BAND:
        colour_space = colours.BLACK_IS_ZERO
    elif page.compression != segments.JPEG and page.photometric == colours.YCBCR:
        colour_space = colours.RGB
    else:
        return page.entries
    value = struct.pack(page.layout.word[0] + "H", colour_space).ljust(len(page.entries[0][3]), b"\0")
    others = (entry for entry in page.entries if entry[0] != PHOTOMETRIC)
    return (*others, (PHOTOMETRIC, 3, 1, value))


def check_kind(page: Directory, data: bytes, name: str) -> None:
    """Raises `NotAnImage` for a compression, colour space or type of samples that maskq does not read."""
    compression, photometric = page.compression, page.photometric
    if photometric in colours.CAMERA_RAW:
        raise NotAnImage(f"{name}: a camera's raw file ({colours.NAMES[photometric]}); develop it to PNG or TIFF")
    segments.check_compression(compression, name)
    by_band = page.tags.get(PLANAR, 1) == _BY_BAND
    in_jpeg = photometric == colours.YCBCR and compression in segments.OWN_COLOURS and not by_band
    if photometric not in colours.READABLE and not in_jpeg:
        what = colours.NAMES.get(photometric, "unknown")
        raise NotAnImage(f"{name}: a TIFF of colour space {photometric} ({what}), which maskq does not read; "
                         "convert it to grey or RGB")  # fmt: skip
    if _COMPLEX.intersection(page.values(data, SAMPLE_FORMAT).tolist()):
        raise NotAnImage(f"{name}: a TIFF of complex numbers; save their magnitude")


def _check_page(page: tifffile.TiffPage, part: Window, name: str, limits: ImageLimits) -> None:
    """Raises an `ImageError` if the page has too many bytes."""
    bits = page.bitspersample
    packed = page.dtype is not None and page.dtype.kind != "f" and isinstance(bits, int) and bits not in (32, 64)
    if page.dtype is None or (packed and bits > _MAX_PACKED):
        raise NotAnImage(
            f"{name}: a TIFF of {page.bitspersample} bits a sample and sample format {int(page.sampleformat)}, which "
            "maskq does not read; save it with 8, 16 or 32 bits"
        )
    if part.top + part.height > page.imagelength or part.left + part.width > page.imagewidth:
        raise InapplicableOption(f"{name}: the region is not within {page.imagelength}×{page.imagewidth}")
    tile_limit = max(limits.max_decoded, _USUAL_TILE)
    samples = page.shaped[0] * page.shaped[-1]
    _check_bytes((part.height, part.width, samples), page.dtype, limits.max_decoded, name)
    _check_bytes(page.chunks, page.dtype, tile_limit, name)
    if part == Window.whole((page.imagelength, page.imagewidth)) and page.imagedepth == 1:
        _check_bytes((*page.chunked, *page.chunks), page.dtype, _MAX_PADDING * tile_limit, name)


def _check_bytes(shape: tuple[int, ...], dtype: np.dtype[Any], limit: int, name: str) -> None:
    size = math.prod(shape) * dtype.itemsize
    if size > limit:
        raise ImageTooLarge(f"{name}: {shape} {dtype} is {size:,} bytes of pixels, over the limit of {limit:,} bytes")


def _isolated(page: tifffile.TiffPage, file: IO[bytes], part: Window, name: str, limits: ImageLimits) -> NDArray[Any]:
    """A part of a page that is decoded whole, in a process of its own, as in `_decoded`."""
    assert page.dtype is not None
    if page.imagedepth > 1:
        raise NotAnImage(f"{name}: a volume of compression {int(page.compression)}; save it with deflate or LZW")
    _check_bytes(page.shape, page.dtype, limits.max_decoded, name)
    file.seek(0)
    pixels = isolated.decode("tiff", file.read(), math.prod(page.shape), name)
    samples = pixels.reshape(page.shaped)[:, 0]
    return samples[:, part.top : part.top + part.height, part.left : part.left + part.width]
