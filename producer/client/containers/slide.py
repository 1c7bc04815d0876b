"""Whole slides and other tiled pyramids in TIFF, read by tifffile.

Aperio SVS, Hamamatsu NDPI, Leica SCN, Philips, Akoya QPTIFF, OME-TIFF and generic pyramids. Labels, macro pictures,
thumbnails and masks are no images of a slide. A plain TIFF is read here only if the worker can't do what the job asks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

from ...errors import InvalidJob
from . import slide_metadata
from .container import Container
from .planes import read_plane
from .request import Request
from .series import Box, Index, Series

if TYPE_CHECKING:
    import tifffile
    from numpy.typing import NDArray

SLIDES = (".svs", ".ndpi", ".scn", ".qptiff")
TIFFS = (".tif", ".tiff", ".btf", ".tf8")
_NO_IMAGE = frozenset({"Thumbnail", "Label", "Macro", "Map"})
#: Slides whose missing tiles are empty glass, which is white, and the value of white.
_WHITE, _MISSING = frozenset({"svs", "ndpi", "scn", "philips"}), 255
#: Compressions whose decoder converts YCbCr to RGB: JPEG, JPEG 2000, WebP, JPEG XL, JPEG XR; Aperio's is done here.
_OWN_COLOURS = frozenset({7, 33003, 33004, 33005, 34712, 34927, 50001, 50002, 52546, 22610, 34934})
#: TIFF's numbers of extra samples that are alpha, and GDAL's tag of the value of pixels without data.
_ALPHA, _NO_DATA = frozenset({1, 2}), 42113
#: Bits of tag 254: a reduced copy, a mask.
_COPY_OR_MASK = 0b101


@contextmanager
def open_slide(path: str, request: Request) -> Iterator[Sequence[Series]]:
    """The images of the slide, each with its levels."""
    import tifffile

    with tifffile.TiffFile(path) as file:
        if file.is_bif:
            raise InvalidJob(
                f"{request.name}: a Ventana slide, whose tiles overlap; export it as OME-TIFF, for example with QuPath"
            )
        images = [one for one in file.series if not _is_extra(one)]
        names = slide_metadata.macros(file)
        yield [_series(file, one, request) for one in images if one.name not in names] or [
            _series(file, one, request) for one in images
        ]


def _is_extra(series: tifffile.TiffPageSeries) -> bool:
    return series.name in _NO_IMAGE or bool(series.keyframe.subfiletype & _COPY_OR_MASK)


def _series(file: tifffile.TiffFile, found: tifffile.TiffPageSeries, request: Request) -> Series:
    import numpy as np
    import tifffile

    page = found.keyframe
    colour = page.photometric in (tifffile.PHOTOMETRIC.RGB, tifffile.PHOTOMETRIC.YCBCR)
    axes = _axes(found, colour, request)
    lengths = dict(zip(axes, found.shape, strict=True))
    inverted = page.photometric == tifffile.PHOTOMETRIC.MINISWHITE

    levels = _levels(file, found)

    def read(level: int, index: Index, box: Box) -> NDArray[Any]:
        pixels = read_plane(opened(level), axes, index, box)
        if page.compression == tifffile.COMPRESSION.APERIO_JP2000_YCBC:
            pixels = _from_ycbcr(pixels)
        return _turned_round(pixels, int(page.bitspersample)) if inverted else _without_no_data(pixels, page)

    @cache
    def opened(level: int) -> Any:
        import zarr

        fill = _MISSING if colour and found.kind in _WHITE else 0
        store = levels[level].aszarr(level=0, fillvalue=fill)
        return zarr.open_array(store, mode="r" if store.read_only else "r+")  # a file in memory counts as writable

    return Series(
        name=found.name if len(file.series) > 1 else "",
        axes={axis: lengths[axis] for axis in "TZC" if axis in lengths},
        levels=tuple((one.shape[axes.index("Y")], one.shape[axes.index("X")]) for one in levels),
        dtype=np.dtype(found.dtype),
        read=read,
        samples=lengths.get("S", 1) if colour else 1,
        channels=slide_metadata.channels(file, found, lengths.get("C", 1)),
        pixel_size=slide_metadata.pixel_size(file, found),
    )


def _levels(file: tifffile.TiffFile, found: tifffile.TiffPageSeries) -> list[tifffile.TiffPageSeries]:
    """The series and its reduced copies. tifffile does not look for them in SubIFDs of files that it wrote itself."""
    import tifffile

    levels = [level for level in found.levels if level.axes == found.axes]
    if found.kind != "shaped" or len(levels) > 1:
        return levels
    pages = [page.aspage() for page in found.pages if page is not None]
    for number in range(len(found.keyframe.subifds or ())):
        copies = [page.pages[number].aspage() for page in pages if page.pages is not None]
        reduced = dict(zip(copies[0].axes, copies[0].shape, strict=True))
        shape = [
            reduced[axis] if axis in "YX" else length for axis, length in zip(found.axes, found.shape, strict=True)
        ]
        if len(copies) == len(pages):
            levels.append(tifffile.TiffPageSeries(copies, shape, found.dtype, found.axes, parent=file, kind="shaped"))
    return levels


def _axes(found: tifffile.TiffPageSeries, colour: bool, request: Request) -> str:
    """The axes: samples that are no colours are channels. Raises `InvalidJob` for other axes and colours."""
    import tifffile

    photometric, lengths = found.keyframe.photometric, dict(zip(found.axes, found.shape, strict=True))
    grey = photometric in (tifffile.PHOTOMETRIC.MINISBLACK, tifffile.PHOTOMETRIC.MINISWHITE)
    other = [axis for axis, length in lengths.items() if axis not in "TZCYXS" and length > 1]
    if other or not (colour or grey) or {"S", "C"} <= set(lengths) or not _is_understood(found.keyframe):
        colours = getattr(photometric, "name", photometric)
        raise InvalidJob(
            f"{request.name}: a TIFF of {colours} and axes {found.axes} {found.shape}, which the client can't read; "
            "leave out the options resolution and region=tissue, so that workers read it, or store it as grey or RGB"
        )
    return found.axes if colour else found.axes.replace("S", "C")


def _is_understood(page: tifffile.TiffPage) -> bool:
    """Whether tifffile's samples are what they seem: no raw YCbCr, no alpha of grey, no fourth that is not alpha."""
    import tifffile

    if page.photometric == tifffile.PHOTOMETRIC.YCBCR:
        return page.compression in _OWN_COLOURS
    if page.photometric == tifffile.PHOTOMETRIC.RGB:
        return _ALPHA.issuperset(page.extrasamples)
    return _ALPHA.isdisjoint(page.extrasamples)


def _without_no_data(pixels: NDArray[Any], page: tifffile.TiffPage) -> NDArray[Any]:
    """Floats with NaN for GDAL's value of pixels without data, unless that is 0, as workers read them."""
    import numpy as np

    tag = page.tags.get(_NO_DATA)
    if tag is None or pixels.dtype.kind != "f":
        return pixels
    try:
        value = float(tag.value)
    except (TypeError, ValueError):  # damaged
        return pixels
    missing = (pixels == np.asarray(value).astype(pixels.dtype)) & bool(value)
    return np.where(missing, pixels.dtype.type(np.nan), pixels)


def _from_ycbcr(pixels: NDArray[Any]) -> NDArray[Any]:
    """(h, w, 3) uint8 of JPEG's YCbCr as RGB: Aperio's compression 33003, which tifffile leaves as it is."""
    import numpy as np
    from PIL import Image

    rgb = np.array(Image.fromarray(pixels, "YCbCr").convert("RGB"))
    rgb[(pixels == _MISSING).all(axis=2)] = _MISSING
    return rgb


def _turned_round(pixels: NDArray[Any], bits: int) -> NDArray[Any]:
    """WhiteIsZero as BlackIsZero: 2^bits - 1 - v for unsigned and ~v for signed integers."""
    if pixels.dtype.kind not in "ui":
        raise InvalidJob(f"a WhiteIsZero TIFF of {pixels.dtype}; store it as BlackIsZero")
    return ~pixels if pixels.dtype.kind == "i" else pixels.dtype.type(2**bits - 1) - pixels


CONTAINER = Container("whole slide", SLIDES, open_slide)
