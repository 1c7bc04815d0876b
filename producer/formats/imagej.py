"""ImageJ: a zip of regions of interest, one per object, for ImageJ's and Fiji's ROI Manager.

An object of one ring is a traced outline; one with holes or several parts is a composite. Both lie on pixel edges, so
ImageJ's areas are the numbers of pixels; its centroids are half a pixel beyond maskq's, because it counts from a
pixel's corner.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ..errors import FormatNotApplicable
from .archive import zip_chunks
from .outlines import outlines
from .result_format import FormatOptions, ResultFormat
from .stack_position import stack_position

if TYPE_CHECKING:
    from ..client.job import Result
    from ..polygons.outlines import Polygon, Ring

#: ImageJ's coordinates are 16-bit integers.
_MAX_SIDE = 32_767
#: Path segments of composites, as in Java's `PathIterator`.
_MOVE_TO, _LINE_TO, _CLOSE = 0.0, 1.0, 4.0


def chunks(result: Result, options: FormatOptions) -> Iterator[bytes]:
    """The zip file. Raises `FormatNotApplicable` for an image of more than 32,767 pixels a side."""
    if max(result.size) > _MAX_SIDE:
        height, width = result.size
        raise FormatNotApplicable(
            f"ImageJ's regions of interest reach to {_MAX_SIDE:,} pixels, and the image is {width:,} x {height:,}"
        )
    yield from zip_chunks(_entries(result, options))


def _entries(result: Result, options: FormatOptions) -> Iterator[tuple[str, bytes]]:
    from ..polygons.outlines import polygons_of

    for plane, rings in outlines(result, options):
        position = stack_position(result, plane)
        prefix = "" if plane is None else f"{plane:04}-"
        where = {}
        if position:
            z, t = (position.get(axis, -1) + 1 for axis in "ZT")
            where = {"position": plane if len(position) == 1 else 0, "z_position": z, "t_position": t}
        for number, polygons in polygons_of(rings):
            name = f"{prefix}{number:05}"
            yield f"{name}.roi", _roi(polygons, {"name": name, **where})


def _roi(polygons: list[Polygon], attributes: dict[str, Any]) -> bytes:
    """The file of one object's region of interest."""
    import numpy as np
    from roifile import ROI_TYPE, ImagejRoi

    every = np.concatenate([ring for polygon in polygons for ring in polygon])
    (left, top), (right, bottom) = every.min(axis=0).tolist(), every.max(axis=0).tolist()
    roi = ImagejRoi(left=left, top=top, right=right, bottom=bottom, **attributes)
    if len(polygons) == len(polygons[0]) == 1:
        roi.roitype = ROI_TYPE.TRACED
        roi.n_coordinates = len(every)
        roi.integer_coordinates = (every - (left, top)).astype(np.int32)
    else:
        path = np.concatenate([_path(ring) for polygon in polygons for ring in polygon])
        roi.roitype, roi.multi_coordinates, roi.shape_roi_size = ROI_TYPE.RECT, path, len(path)
    return bytes(roi.tobytes())


def _path(ring: Ring) -> Any:
    """A ring as path segments: move to a point, lines to the others, close. 1-D float32."""
    import numpy as np

    segments = np.full((len(ring), 3), _LINE_TO, np.float32)
    segments[0, 0] = _MOVE_TO
    segments[:, 1:] = ring
    return np.append(segments.ravel(), np.float32(_CLOSE))


FORMAT = ResultFormat(
    "imagej",
    "zip of ImageJ ROIs",
    {".rois.zip": "application/zip"},
    chunks,
    streamable=True,
    packages=("roifile",),
)
