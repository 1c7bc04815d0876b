"""Pixels of any kind → what a network takes. The one place where channels, range and size are converted.

1. Channels. `grey`: one channel. Three or four channels are RGB (and alpha): luminance by ITU-R BT.601, alpha
   dropped; two channels are grey and alpha: the first; any other number: their mean. `rgb`: three channels; grey
   is repeated, alpha dropped, and what has more than four channels gives its first three.
2. Range. `percentile`: per image and channel, the 1st percentile becomes 0 and the 99.8th becomes 1, clipped to
   [-1, 3]; so 8-bit, 16-bit and float images of the same scene give the same input. `unit`: integers are divided
   by their type's maximum, floats are taken as they are (but for what float32 cannot hold: its limit), and bool
   becomes 0 and 1.
3. Size. Sides grow to the next multiple of 8 by repeating the last row and column; the fields are cut back to the
   image afterwards. That is the input by definition: what a batch adds beyond it (`ladder`), the network does not see.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..arrays import Pixels
from .shape_buckets import aligned_shape

Channels = Literal["grey", "rgb"]
Normalisation = Literal["percentile", "unit"]

_LUMINANCE = np.array([0.299, 0.587, 0.114], np.float32)
#: Percentiles are taken over at most about this many pixels of a regular sub-grid.
_SAMPLE = 1 << 18
#: These become 0 and 1.
_PERCENTILES = (1, 99.8)
#: Differences below this part of a float image's values are rounding, not contrast.
_ROUNDING = 1e-6
#: Keeps a division from being one by zero; far below any contrast that an image has here.
_TINY = 1e-30
#: The largest float32.
_MOST = float(np.finfo(np.float32).max)

AnyFloats = NDArray[np.floating[Any]]


def to_input(pixels: Pixels, channels: Channels, normalisation: Normalisation) -> NDArray[np.float32]:
    """(H, W, C) finite pixels of any type → (channels, H, W) float32, finite, normalised."""
    if normalisation == "percentile" and _few_values(pixels, channels):
        return np.stack([_looked_up(plane) for plane in np.moveaxis(_select(pixels, channels), -1, 0)])
    planes: AnyFloats = np.ascontiguousarray(np.moveaxis(_select(_workable(pixels, normalisation), channels), -1, 0))
    if normalisation == "percentile":
        for plane in planes:
            _stretch(plane, _ROUNDING if pixels.dtype.kind == "f" else 0)
        return planes.astype(np.float32, copy=False)
    most = np.iinfo(pixels.dtype.name).max if pixels.dtype.kind in "iu" else 1
    return (planes / planes.dtype.type(most)).clip(-_MOST, _MOST).astype(np.float32, copy=False)


def _workable(pixels: Pixels, normalisation: Normalisation) -> AnyFloats:
    """The pixels as floats that neither lose digits nor overflow in what follows."""
    if pixels.dtype.itemsize <= 2:
        return pixels.astype(np.float32)
    values = pixels.astype(np.float64)
    if normalisation == "unit":
        return values.clip(-_MOST, _MOST) if pixels.dtype.kind == "f" else values
    # A power of two changes no digit, and percentiles don't ask for the scale.
    return np.ldexp(values, -int(np.frexp(max(values.max(), -values.min()))[1]))


def _few_values(pixels: Pixels, channels: Channels) -> bool:
    """Whether what the network sees of each pixel is one of at most 65,536 values: whole numbers, and not mixed."""
    return pixels.dtype.name in ("uint8", "uint16") and (channels == "rgb" or pixels.shape[2] <= 2)


def _select(pixels: NDArray[Any], channels: Channels) -> NDArray[Any]:
    """The channels wanted, last."""
    count = pixels.shape[2]
    if channels == "rgb":
        return np.repeat(pixels[..., :1], 3, axis=2) if count < 3 else pixels[..., :3]
    if count <= 2:
        return pixels[..., :1]
    mixed: NDArray[Any]
    mixed = pixels[..., :3] @ _LUMINANCE.astype(pixels.dtype) if count in (3, 4) else pixels.mean(axis=2)
    return mixed[..., None]


def _stretch(plane: AnyFloats, rounding: float) -> None:
    """Bring the plane's 1st and 99.8th percentiles to 0 and 1, in place; one flat but for `rounding` becomes 0."""
    low, high = np.percentile(_sample(plane), _PERCENTILES)
    _scale(plane, low, high, rounding)


def _looked_up(plane: NDArray[np.unsignedinteger[Any]]) -> NDArray[np.float32]:
    """The same of a plane of 8 or 16 bits: its values are counted instead of sorted, and each is stretched once."""
    counts = np.cumsum(np.bincount(_sample(plane).ravel()))
    low, high = (_percentile(counts, percent) for percent in _PERCENTILES)
    table = np.arange(np.iinfo(plane.dtype).max + 1, dtype=np.float32)
    _scale(table, low, high, 0)
    return table.take(plane)


def _percentile(counts: NDArray[np.int64], percent: float) -> float:
    """What `np.percentile` says of values, of which `counts[v]` are `v` or less."""
    at = percent / 100 * (int(counts[-1]) - 1)
    below, above = np.searchsorted(counts, (int(at), math.ceil(at)), side="right").tolist()
    return float(below + (above - below) * (at - int(at)))


def _sample(plane: NDArray[Any]) -> NDArray[Any]:
    step = max(1, int((plane.size / _SAMPLE) ** 0.5))
    return plane[::step, ::step]


def _scale(plane: AnyFloats, low: float, high: float, rounding: float) -> None:
    span = max(high - low, rounding * max(abs(low), abs(high)), _TINY)
    plane -= plane.dtype.type(low)
    plane /= plane.dtype.type(span)
    plane.clip(-1, 3, out=plane)


def pad(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """(C, H, W) → the same with both sides multiples of 8, grown at the bottom and right by repeating the edge."""
    _, height, width = image.shape
    rows, columns = aligned_shape(height, width)
    if (rows, columns) == (height, width):
        return image
    return np.pad(image, ((0, 0), (0, rows - height), (0, columns - width)), mode="edge")
