"""Converts pixels of any type to a network's input: channels, range and size.

1. Channels. `grey`: one channel. Three or four channels are RGB (and alpha): luminance by ITU-R BT.601, alpha
   dropped; two channels are grey and alpha: the first; any other number: their mean. `rgb`: three channels; grey
   is repeated, alpha is dropped, and of more than four channels the first three are taken. A job's channels are
   chosen before (`images.channels`), so these rules for two, and for more than four, only serve plain arrays.
2. Range. `percentile`: per image and channel, the 1st percentile becomes 0 and the 99.8th becomes 1, clipped to
   [-1, 3]; so 8-bit, 16-bit and float images of one scene give the same input. `unit`: integers are divided by
   their type's maximum, floats are only clipped to float32's range, and bool becomes 0 and 1. NaN, which a job may
   allow as background, does not count for the percentiles and becomes 0.
3. Size. Sides grow to the next multiple of 8 by repeating the last row and column; the fields are cropped to the
   image afterwards. The network does not see the padding that a batch adds to this (`shape_buckets`).
"""

import math
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..arrays import Pixels
from .shape_buckets import aligned_shape

Channels = Literal["grey", "rgb"]
#: How several channels become one.
Composite = Literal["mean", "max"]
Normalisation = Literal["percentile", "unit"]

_LUMINANCE = np.array([0.299, 0.587, 0.114], np.float32)
#: Percentiles are taken over about this many pixels at most, on a regular grid.
_MAX_SAMPLE_PIXELS = 1 << 18
#: They become 0 and 1.
_PERCENTILES = (1, 99.8)
#: Differences below this fraction of the values are rounding, not contrast: of floats, of float32 and float64 that
#: integers were mixed in.
_ROUNDING, _ROUNDING_64 = 1e-6, 1e-12
#: Avoids a division by zero; far below the contrast of any image at this point.
_TINY = 1e-30
_FLOAT32_MAX = float(np.finfo(np.float32).max)

AnyFloats = NDArray[np.floating[Any]]


def to_input(pixels: Pixels, channels: Channels, normalisation: Normalisation) -> NDArray[np.float32]:
    """(H, W, C) pixels of any type, finite or NaN → (channels, H, W) float32, finite, normalised."""
    if normalisation == "percentile" and _few_values(pixels, channels):
        return np.stack([_stretch_by_table(plane) for plane in np.moveaxis(_select(pixels, channels), -1, 0)])
    values = _select(_as_floats(pixels, normalisation), channels)
    planes: AnyFloats = np.ascontiguousarray(np.moveaxis(values, -1, 0))
    if normalisation == "percentile":
        for plane in planes:
            _stretch(plane, _rounding(pixels, channels))
    else:
        maximum = np.iinfo(pixels.dtype.name).max if pixels.dtype.kind in "iu" else 1
        planes = (planes / planes.dtype.type(maximum)).clip(-_FLOAT32_MAX, _FLOAT32_MAX)
    if pixels.dtype.kind == "f":
        planes[np.isnan(planes)] = 0
    return planes.astype(np.float32, copy=False)


def combine(pixels: Pixels, composite: Composite) -> NDArray[np.float32]:
    """(H, W, C) pixels → (H, W, 1) float32: each channel normalised by its percentiles, then their mean or maximum.

    A pixel that is NaN in any channel stays NaN.
    """
    channels = [pixels[..., channel : channel + 1] for channel in range(pixels.shape[2])]
    combined = to_input(channels[0], "grey", "percentile")[0]
    for channel in channels[1:]:
        plane = to_input(channel, "grey", "percentile")[0]
        (np.maximum if composite == "max" else np.add)(combined, plane, out=combined)
    if composite == "mean":
        combined /= len(channels)
    if pixels.dtype.kind == "f":
        combined[np.isnan(pixels).any(axis=2)] = np.nan
    return np.expand_dims(combined, -1)


def _as_floats(pixels: Pixels, normalisation: Normalisation) -> AnyFloats:
    """The pixels as floats that neither lose digits nor overflow in the normalisation."""
    if pixels.dtype.itemsize <= 2:
        return pixels.astype(np.float32)
    values = pixels.astype(np.float64)
    if normalisation == "unit":
        return values.clip(-_FLOAT32_MAX, _FLOAT32_MAX) if pixels.dtype.kind == "f" else values
    # Scaling by a power of two is exact, and the percentile normalisation does not depend on the scale.
    largest = np.fmax.reduce(np.abs(values), axis=None, initial=0)  # ignores NaN
    return np.ldexp(values, -int(np.frexp(largest)[1]))


def _rounding(pixels: Pixels, channels: Channels) -> float:
    """The fraction of the values that may be rounding; 0 for integers that are only copied."""
    if pixels.dtype.kind == "f":
        return _ROUNDING
    is_mixed = channels == "grey" and pixels.shape[2] > 2
    return (_ROUNDING if pixels.dtype.itemsize <= 2 else _ROUNDING_64) if is_mixed else 0


def _few_values(pixels: Pixels, channels: Channels) -> bool:
    """Whether pixels have at most 65,536 distinct values: integers of 8 or 16 bits, without mixing channels."""
    return pixels.dtype.name in ("uint8", "uint16") and (channels == "rgb" or pixels.shape[2] <= 2)


def _select(pixels: NDArray[Any], channels: Channels) -> NDArray[Any]:
    """(H, W, C) → (H, W, 1) for `grey`, (H, W, 3) for `rgb`."""
    count = pixels.shape[2]
    if channels == "rgb":
        return np.repeat(pixels[..., :1], 3, axis=2) if count < 3 else pixels[..., :3]
    if count <= 2:
        return pixels[..., :1]
    mixed: NDArray[Any]
    mixed = pixels[..., :3] @ _LUMINANCE.astype(pixels.dtype) if count in (3, 4) else pixels.mean(axis=2)
    return mixed[..., None]


def _stretch(plane: AnyFloats, rounding: float) -> None:
    """Scale the plane's 1st and 99.8th percentiles to 0 and 1, in place; a plane flat up to `rounding` becomes 0."""
    low, high = np.percentile(_sample(plane), _PERCENTILES)
    if np.isnan(low):  # one NaN is enough
        low, high = np.percentile(_not_nan(_sample(plane), plane), _PERCENTILES)
    _scale(plane, low, high, rounding)


def _stretch_by_table(plane: NDArray[np.unsignedinteger[Any]]) -> NDArray[np.float32]:
    """`_stretch` for 8 or 16 bits: counts the values instead of sorting them, and scales each distinct value once."""
    counts = np.cumsum(np.bincount(_sample(plane).ravel()))
    low, high = (_percentile(counts, percent) for percent in _PERCENTILES)
    table = np.arange(np.iinfo(plane.dtype).max + 1, dtype=np.float32)
    _scale(table, low, high, 0)
    return table.take(plane)


def _percentile(counts: NDArray[np.int64], percent: float) -> float:
    """`np.percentile` from cumulative counts: `counts[v]` values are `v` or less."""
    rank = percent / 100 * (int(counts[-1]) - 1)
    below, above = np.searchsorted(counts, (int(rank), math.ceil(rank)), side="right").tolist()
    return float(below + (above - below) * (rank - int(rank)))


def _sample(plane: NDArray[Any]) -> NDArray[Any]:
    step = max(1, int((plane.size / _MAX_SAMPLE_PIXELS) ** 0.5))
    return plane[::step, ::step]


def _not_nan(*planes: AnyFloats) -> AnyFloats:
    """The values that are not NaN, of the first plane that has any; else a zero."""
    return next((values for plane in planes if (values := plane[~np.isnan(plane)]).size), np.zeros(1, np.float32))


def _scale(plane: AnyFloats, low: float, high: float, rounding: float) -> None:
    span = max(high - low, rounding * max(abs(low), abs(high)), _TINY)
    plane -= plane.dtype.type(low)
    plane /= plane.dtype.type(span)
    plane.clip(-1, 3, out=plane)


def pad(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """(C, H, W) → both sides padded to multiples of 8, at the bottom and right, by repeating the edge."""
    _, height, width = image.shape
    rows, columns = aligned_shape(height, width)
    if (rows, columns) == (height, width):
        return image
    return np.pad(image, ((0, 0), (0, rows - height), (0, columns - width)), mode="edge")
