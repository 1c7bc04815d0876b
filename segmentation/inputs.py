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

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from .images import Pixels
from .ladder import exact

Channels = Literal["grey", "rgb"]
Normalisation = Literal["percentile", "unit"]

_LUMINANCE = np.array([0.299, 0.587, 0.114], np.float32)
#: Percentiles are taken over at most about this many pixels of a regular sub-grid.
_SAMPLE = 1 << 18
#: Differences below this part of a float image's values are rounding, not contrast.
_ROUNDING = 1e-6
#: Keeps a division from being one by zero; far below any contrast that an image has here.
_TINY = 1e-30
#: The largest float32.
_MOST = float(np.finfo(np.float32).max)

Floats = NDArray[np.floating[Any]]


def to_input(pixels: Pixels, channels: Channels, normalisation: Normalisation) -> NDArray[np.float32]:
    """(H, W, C) finite pixels of any type → (channels, H, W) float32, finite, normalised."""
    planes = np.ascontiguousarray(np.moveaxis(_select(_workable(pixels, normalisation), channels), -1, 0))
    if normalisation == "percentile":
        for plane in planes:
            _stretch(plane, _ROUNDING if pixels.dtype.kind == "f" else 0)
        return planes.astype(np.float32, copy=False)
    most = np.iinfo(pixels.dtype.name).max if pixels.dtype.kind in "iu" else 1
    return (planes / planes.dtype.type(most)).clip(-_MOST, _MOST).astype(np.float32, copy=False)


def _workable(pixels: Pixels, normalisation: Normalisation) -> Floats:
    """The pixels as floats that neither lose digits nor overflow in what follows."""
    if pixels.dtype.itemsize <= 2:
        return pixels.astype(np.float32)
    values = pixels.astype(np.float64)
    if normalisation == "unit":
        return values.clip(-_MOST, _MOST) if pixels.dtype.kind == "f" else values
    # A power of two changes no digit, and percentiles don't ask for the scale.
    return np.ldexp(values, -int(np.frexp(max(values.max(), -values.min()))[1]))


def _select(pixels: Floats, channels: Channels) -> Floats:
    """The channels wanted, last."""
    count = pixels.shape[2]
    if channels == "rgb":
        return np.repeat(pixels[..., :1], 3, axis=2) if count < 3 else pixels[..., :3]
    if count in (3, 4):
        return (pixels[..., :3] @ _LUMINANCE.astype(pixels.dtype))[..., None]
    return pixels[..., :1] if count <= 2 else pixels.mean(axis=2, keepdims=True)


def _stretch(plane: Floats, rounding: float) -> None:
    """Bring the plane's 1st and 99.8th percentiles to 0 and 1, in place; one flat but for `rounding` becomes 0."""
    step = max(1, int((plane.size / _SAMPLE) ** 0.5))
    low, high = np.percentile(plane[::step, ::step], (1, 99.8))
    span = max(high - low, rounding * max(abs(low), abs(high)), _TINY)
    plane -= plane.dtype.type(low)
    plane /= plane.dtype.type(span)
    plane.clip(-1, 3, out=plane)


def pad(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """(C, H, W) → the same with both sides multiples of 8, grown at the bottom and right by repeating the edge."""
    _, height, width = image.shape
    rows, columns = exact(height, width)
    return np.pad(image, ((0, 0), (0, rows - height), (0, columns - width)), mode="edge")
