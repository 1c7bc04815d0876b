"""OME-TIFF: labels in tiles, with a pyramid of nearest neighbours and the pixel size."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ..errors import FormatNotApplicable
from .pyramid import TILE, Pyramid
from .result_format import FormatOptions, ResultFormat

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..client.job import Result

#: OME's identifier of a file, which matters only if files refer to each other. So equal labels give equal files.
_UUID = "6d61736b-7120-4c61-8265-6c7320737462"
#: Above this size of the pixels, the file has 64-bit offsets (BigTIFF): compressed labels are a tenth at most.
_BIG = 1 << 35


def chunks(result: Result, options: FormatOptions) -> Iterator[bytes]:
    """The file. Raises `FormatNotApplicable` for a stack with axes other than T and Z."""
    import tifffile

    axes = result.axes.removesuffix("YX")
    if not set(axes) <= {"T", "Z"}:
        raise FormatNotApplicable(f"OME-TIFF has the axes T and Z for planes, and this stack has {axes}")
    pyramid = Pyramid(result)
    stream = io.BytesIO()
    big = math.prod((*result.shape, *result.size)) * (4 if pyramid.dtype == "int32" else 2) > _BIG
    with tifffile.TiffWriter(stream, bigtiff=big, ome=True) as tiff:
        for level in range(pyramid.levels):
            tiff.write(
                _tiles(pyramid, level),
                shape=(*result.shape, *pyramid.size(level)),
                dtype=pyramid.dtype,
                tile=(TILE, TILE),
                photometric="minisblack",
                compression="adobe_deflate",
                **(
                    {"subifds": pyramid.levels - 1, "metadata": _metadata(result)} if level == 0 else {"subfiletype": 1}
                ),
            )
    yield stream.getvalue()


def _tiles(pyramid: Pyramid, level: int) -> Iterator[NDArray[Any]]:
    """The tiles of a level's planes; tifffile fills those at the right and bottom border."""
    for plane in pyramid.planes(level):
        height, width = plane.shape
        for top in range(0, height, TILE):
            for left in range(0, width, TILE):
                yield plane[top : top + TILE, left : left + TILE]


def _metadata(result: Result) -> dict[str, Any]:
    metadata: dict[str, Any] = {"axes": result.axes, "UUID": _UUID, "Creator": "maskq", "Name": result.job.spec.name}
    for axis, length in zip("YX", result.pixel_size or (), strict=False):
        metadata |= {f"PhysicalSize{axis}": length, f"PhysicalSize{axis}Unit": "µm"}
    return metadata


FORMAT = ResultFormat(
    "ome-tiff", "OME-TIFF label pyramid", {".labels.ome.tif": "image/tiff"}, chunks, packages=("tifffile",)
)
