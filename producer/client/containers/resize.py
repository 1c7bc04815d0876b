"""Resizes a plane with Pillow; the bilinear filter grows with the reduction, so nothing is skipped."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .series import Size

if TYPE_CHECKING:
    from numpy.typing import NDArray


def resized(plane: NDArray[Any], size: Size) -> NDArray[Any]:
    """The plane in `size` = (height, width), in its own type: (h, w) or (h, w, samples) → the same with that size.

    Values pass through float32, which holds integers of up to 24 bits: `resizable` says which types are exact.
    """
    import numpy as np
    from PIL import Image

    if plane.shape[:2] == size:
        return plane
    planes = plane[..., np.newaxis] if plane.ndim == 2 else plane
    height, width = size
    result = np.empty((height, width, planes.shape[2]), plane.dtype)
    for sample in range(planes.shape[2]):
        image = Image.fromarray(np.ascontiguousarray(planes[..., sample], dtype=np.float32))
        values = np.asarray(image.resize((width, height), Image.Resampling.BILINEAR))
        result[..., sample] = np.rint(values) if plane.dtype.kind in "ui" else values
    return result[..., 0] if plane.ndim == 2 else result


def resizable(dtype: Any) -> bool:
    """Whether a plane of this type can be resized: integers of up to 16 bits, and floats of up to 32."""
    return bool(dtype.itemsize <= {"u": 2, "i": 2, "f": 4}.get(dtype.kind, 0))
