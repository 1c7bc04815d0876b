"""Turns an array into the bytes of a .npy file. An array that could be read in several ways is refused here."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from ..errors import InvalidJob, PayloadTooLarge

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Without names, an array of three axes is an image with channels last only if its sides are longer than this.
_MAX_FIRST = 4
#: The letters and the number of axes that `Options.axes` may have.
_LETTERS, _MAX_AXES = frozenset("TZCYXS"), 5
_WHAT_TO_DO = {
    "c": "take numpy.abs(array) or array.real",
    "O": "stack equal planes with numpy.stack, or submit them one by one",
}
_EXAMPLES = {
    3: "SYX (RGB first), CYX (separate channels first), ZYX (planes), YXS (RGB last) or YXC (channels last)",
    4: "ZCYX, TZYX or ZYXS",
}


def npy_bytes(source: Any, axes: str | None, name: str, max_bytes: int) -> bytes:
    """The .npy file of an array, or of an object with `__array__` (torch, xarray, dask, zarr, pandas …).

    Any order, strides and byte order. `axes` names the axes, such as `CYX`; None means (H, W), (H, W, 1), (H, W, 3) or
    (H, W, 4). Raises `InvalidJob` for anything else, and `PayloadTooLarge`.
    """
    import numpy as np

    pixels = _as_array(source, name)
    if pixels.dtype.kind not in "buif":
        hint = _WHAT_TO_DO.get(pixels.dtype.kind, "convert it, such as with array.astype(float)")
        raise InvalidJob(f"{name}: an array of {pixels.dtype} is no image: {hint}")
    check_shape(pixels.shape, axes, name)
    if pixels.nbytes > max_bytes:
        raise PayloadTooLarge(f"{name}: {pixels.nbytes:,} bytes, over the limit of {max_bytes:,} bytes")
    stream = io.BytesIO()
    np.save(stream, pixels, allow_pickle=False)
    return stream.getvalue()


def named_axes(source: Any) -> str | None:
    """The axes of an array that names them, as an xarray.DataArray of bioio does in `dims`; None for any other."""
    dims = getattr(source, "dims", None)
    if not isinstance(dims, tuple) or not all(isinstance(name, str) and len(name) == 1 for name in dims):
        return None
    axes = "".join(dims).upper()
    return axes if {"Y", "X"} <= set(axes) <= _LETTERS and len(axes) <= _MAX_AXES else None


def check_shape(shape: tuple[int, ...], axes: str | None, name: str) -> None:
    """Raise `InvalidJob` if the shape does not fit the axes, or could be read in several ways without them.

    `segmentation.images.array_axes` is the worker's rule, and the same.
    """
    if 0 in shape:
        raise InvalidJob(f"{name}: an array of shape {shape} has 0 pixels")
    if len(shape) < 2:
        hint = "; if it holds an image file's bytes, submit array.tobytes()" if len(shape) == 1 else ""
        raise InvalidJob(f"{name}: an array of shape {shape} is no image: (H, W) or (H, W, 3) is{hint}")
    if axes is not None:
        _check_axes(shape, axes, name)
    elif len(shape) != 2 and not (len(shape) == 3 and shape[2] in (1, 3, 4) and min(shape[:2]) > _MAX_FIRST):
        raise InvalidJob(
            f"{name}: an array of shape {shape} can be read in several ways: name its axes with the option `axes`, "
            f"such as {_EXAMPLES.get(len(shape), 'TZCYX')}"
        )


def _check_axes(shape: tuple[int, ...], axes: str, name: str) -> None:
    if len(axes) != len(shape):
        raise InvalidJob(f"{name}: the option `axes` is {axes}, {len(axes)} axes, but the shape is {shape}")
    if len(set(axes)) < len(axes) or not {"Y", "X"} <= set(axes):
        raise InvalidJob(f"{name}: the option `axes` is {axes}: it needs Y and X, and no axis twice")
    lengths = dict(zip(axes, shape, strict=True))
    if "S" in axes and (lengths["S"] > 4 or lengths.get("C", 1) > 1):
        raise InvalidJob(
            f"{name}: axes {axes} of shape {shape}: S is 1 to 4 samples (3 for RGB), and not beside C, which is for "
            f"separate channels"
        )


def _as_array(source: Any, name: str) -> NDArray[Any]:
    """The source as an array. Raises `InvalidJob` if it has none, or if masked values would be segmented."""
    import numpy as np

    kind = f"{type(source).__module__}.{type(source).__qualname__}".removeprefix("builtins.")
    kind = "None" if source is None else f"{'an' if kind[0] in 'aeiou' else 'a'} {kind}"
    if isinstance(source, list | tuple):
        raise InvalidJob(
            f"{name}: {kind} is no image: make an array with numpy.asarray; Client.map takes several images"
        )
    if not isinstance(source, memoryview) and not hasattr(source, "__array__"):
        raise InvalidJob(f"{name}: {kind} is no image: submit a path, a file's bytes, an open file or an array")
    if np.ma.is_masked(source):
        raise InvalidJob(f"{name}: some of its values are masked: replace them, such as with array.filled(0)")
    try:
        return np.asarray(source)
    except Exception as error:  # of any library
        raise InvalidJob(
            f"{name}: {kind} can't be made a NumPy array ({type(error).__name__}: {error}); convert it first, such "
            f"as with tensor.detach().cpu().float() or array.get()"
        ) from error
