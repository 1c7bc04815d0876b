"""Whole slides and other tiled pyramids in TIFF, read by tifffile.

Aperio SVS, Hamamatsu NDPI, Leica SCN, Philips, Akoya QPTIFF, OME-TIFF and generic pyramids. Labels, macro pictures,
thumbnails and masks are no images of a slide. A plain TIFF is read here only if the job asks for a part of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

from ...errors import InvalidJob
from . import slide_metadata
from .container import Container
from .request import Request
from .series import Box, Index, Series

if TYPE_CHECKING:
    import tifffile
    from numpy.typing import NDArray

SLIDES = (".svs", ".ndpi", ".scn", ".qptiff", ".btf", ".tf8")
TIFFS = (".tif", ".tiff")
_NO_IMAGE = frozenset({"Thumbnail", "Label", "Macro", "Map"})
#: Slides whose missing tiles are empty glass, which is white.
_WHITE = frozenset({"svs", "ndpi", "scn", "philips"})
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

    page, axes = found.keyframe, found.axes
    lengths = dict(zip(axes, found.shape, strict=True))
    colour = page.photometric in (tifffile.PHOTOMETRIC.RGB, tifffile.PHOTOMETRIC.YCBCR)
    grey = page.photometric in (tifffile.PHOTOMETRIC.MINISBLACK, tifffile.PHOTOMETRIC.MINISWHITE)
    other = [axis for axis, length in lengths.items() if axis not in "TZCYXS" and length > 1]
    if other or not (colour or grey) or (lengths.get("S", 1) > 1 and lengths.get("C", 1) > 1):
        raise InvalidJob(
            f"{request.name}: an image of colour space {page.photometric} and axes {axes} {found.shape} is not "
            "read in parts"
        )
    if not colour:  # samples that are no colours are channels
        axes = axes.replace("S", "C")
        lengths = dict(zip(axes, found.shape, strict=True))
    inverted = page.photometric == tifffile.PHOTOMETRIC.MINISWHITE

    def read(level: int, index: Index, box: Box) -> NDArray[Any]:
        pixels = _read(opened(level), axes, index, box)
        return _turned_round(pixels) if inverted else pixels

    @cache
    def opened(level: int) -> Any:
        import zarr

        fill = 255 if colour and found.kind in _WHITE else 0
        return zarr.open_array(found.aszarr(level=level, fillvalue=fill), mode="r")

    levels = [level for level in found.levels if level.axes == found.axes]
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


def _read(array: Any, axes: str, index: Index, box: Box) -> NDArray[Any]:
    """The box of one plane, (h, w) or (h, w, samples)."""
    import numpy as np

    rows, columns = slice(box.top, box.bottom), slice(box.left, box.right)
    whole = {"Y": rows, "X": columns, "S": slice(None)}
    pixels: NDArray[Any] = np.asarray(array[tuple(whole.get(axis, index.get(axis, 0)) for axis in axes)])
    left = [axis for axis in axes if axis in whole]
    return np.transpose(pixels, [left.index(axis) for axis in "YXS" if axis in left])


def _turned_round(pixels: NDArray[Any]) -> NDArray[Any]:
    """WhiteIsZero as BlackIsZero: 2^bits - 1 - v for unsigned and ~v for signed integers."""
    if pixels.dtype.kind not in "ui":
        raise InvalidJob(f"a WhiteIsZero TIFF of {pixels.dtype}; store it as BlackIsZero")
    return ~pixels


CONTAINER = Container("whole slide", SLIDES, open_slide)
