"""The labels of a stack as one TIFF file: a page per plane, with axes and pixel size."""

import io
import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import tifffile

from .arrays import Labels

#: Axes that OME knows; tifffile describes all others in its own way.
_OME_AXES = ({"Z"}, {"T"}, {"T", "Z"})
#: Above this size of the pixels, the file has 64-bit offsets (BigTIFF): compressed labels are a tenth at most.
_BIG = 1 << 35
#: OME's identifier of a file, which matters only if files refer to each other. So equal labels give equal files.
_UUID = "6d61736b-7120-4c61-8265-6c7320737461"


def encode_stack(
    planes: Iterable[Labels],
    axes: str,
    shape: tuple[int, ...],
    size: tuple[int, int],
    largest: int,
    pixel_size: tuple[float, float] | None = None,
) -> bytes:
    """(H, W) labels, one plane at a time, → a deflate-compressed TIFF: OME-TIFF if the axes are T and Z.

    `axes` and `shape` are those before `YX`, `size` is (H, W), `largest` is the largest label: above 65,535 the pixels
    have 32 bits, otherwise 16. `pixel_size` is (height, width), micrometres.
    """
    dtype = np.dtype(np.int32 if largest > 65_535 else np.uint16)
    is_ome = set(axes) in _OME_AXES
    metadata: dict[str, Any] = {"axes": f"{axes}YX"}
    if is_ome:
        metadata |= {"UUID": _UUID, "Creator": "maskq"}
    if is_ome and pixel_size:
        for axis, length in zip("YX", pixel_size, strict=True):
            metadata |= {f"PhysicalSize{axis}": length, f"PhysicalSize{axis}Unit": "µm"}
    stream = io.BytesIO()
    big = math.prod((*shape, *size)) * dtype.itemsize > _BIG
    with tifffile.TiffWriter(stream, bigtiff=big, ome=is_ome) as tiff:
        tiff.write(
            (np.ascontiguousarray(plane, dtype) for plane in planes),
            shape=(*shape, *size),
            dtype=dtype,
            photometric="minisblack",
            compression="adobe_deflate",
            metadata=metadata,
        )
    return stream.getvalue()
