"""Writes the chosen part of a series as OME-TIFF: axes, channel names and pixel size, compressed with deflate."""

from __future__ import annotations

import io
from collections.abc import Iterator
from itertools import product
from typing import TYPE_CHECKING, Any

from ...errors import InvalidJob, PayloadTooLarge
from .choice import Part, choose_channels, choose_planes
from .request import Request
from .resize import resizable, resized

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: What OME-TIFF holds of NumPy's types.
_TYPES = frozenset({"uint8", "uint16", "uint32", "int8", "int16", "int32", "float32", "float64"})
#: A fixed identifier: by default it is random, and equal images would not be equal bytes.
_UUID = "urn:uuid:00000000-0000-0000-0000-000000000000"


def ome_tiff(part: Part, request: Request) -> bytes:
    """The part as an OME-TIFF with the axes T, Z, C, Y, X, and S for the samples of RGB.

    Planes and channels that the job does not choose are zeros, so that the numbers of the others stay the file's.
    Memory is bounded by one plane and the file. Raises `InvalidJob`, and `PayloadTooLarge` if the file would be larger
    than the limit.
    """
    import tifffile

    series = part.series
    if series.dtype.name not in _TYPES:
        raise InvalidJob(f"{request.name}: pixels of {series.dtype} can't be sent; store them as uint16 or float32")
    if part.size != part.box.size and not resizable(series.dtype):
        raise InvalidJob(f"{request.name}: images of {series.dtype} are not resized; give the option level")
    axes = {axis: length for axis, length in series.axes.items() if length > 1}
    samples = (series.samples,) if series.samples > 1 else ()
    stream = _Bounded(request)
    # Little-endian, as tifffile writes by default on most machines, so that equal images are equal bytes.
    with tifffile.TiffWriter(stream, ome=True, byteorder="<", bigtiff=request.max_bytes >= 2**31) as file:
        file.write(
            _pages(part, request),
            shape=(*axes.values(), *part.size, *samples),
            dtype=series.dtype.newbyteorder("<"),
            photometric="rgb" if samples else "minisblack",
            planarconfig="contig" if samples else None,
            extrasamples=["unassalpha"] if series.samples == 4 else None,
            compression="zlib",
            predictor=series.dtype.kind in "ui",
            metadata=_metadata(part, "".join(axes)),
        )
    return stream.getvalue()


def _metadata(part: Part, axes: str) -> dict[str, Any]:
    series = part.series
    axes = f"{axes}YX{'S' if series.samples > 1 else ''}"
    described: dict[str, Any] = {"axes": axes, "UUID": _UUID, "Creator": "maskq"}
    if series.name:
        described["Name"] = series.name
    if part.pixel_size:
        height, width = part.pixel_size
        described |= {"PhysicalSizeY": height, "PhysicalSizeX": width}
        described |= {"PhysicalSizeYUnit": "µm", "PhysicalSizeXUnit": "µm"}
    if series.channels and series.samples == 1:
        described["Channel"] = {"Name": list(series.channels)}
    return described


def _pages(part: Part, request: Request) -> Iterator[NDArray[Any]]:
    """The planes of each channel in the order of the axes."""
    import numpy as np

    series = part.series
    planes, channels = choose_planes(series, request), choose_channels(series, request)
    shape = (*part.size, series.samples) if series.samples > 1 else part.size
    empty = np.zeros(shape, series.dtype.newbyteorder("<"))
    plane_axes = [axis for axis in series.axes if axis != "C"]
    indices = product(*(range(series.axes[axis]) for axis in plane_axes))
    for number, position in enumerate(indices):
        for channel in range(series.channel_count):
            if number not in planes or channel not in channels:
                yield empty
                continue
            index = dict(zip(plane_axes, position, strict=True)) | {"C": channel}
            pixels = resized(series.read(part.level, index, part.box), part.size)
            yield np.ascontiguousarray(pixels, empty.dtype)


class _Bounded(io.BytesIO):
    """A file in memory that raises `PayloadTooLarge` when it grows beyond the limit."""

    def __init__(self, request: Request) -> None:
        super().__init__()
        self._request = request

    def write(self, data: Any) -> int:
        if self.tell() + len(data) > self._request.max_bytes:
            raise PayloadTooLarge(
                f"{self._request.name}: more than the limit of {self._request.max_bytes:,} bytes; choose less with the "
                "options planes, channels, level, resolution or region"
            )
        return super().write(data)
