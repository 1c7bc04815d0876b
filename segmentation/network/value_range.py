"""Checks an image's values for models that take them as they are (`unit`), where another scale is a silent fault.

Such a model divides integers by their type's maximum and takes floats as 0 to 1. `percentile` models fit any scale.
"""

import numpy as np

from ..arrays import Pixels
from ..errors import ValuesOutOfRange
from .preprocessing import Normalisation

#: Floats up to this far from 0 to 1 are an overshoot, as of resampling or background subtraction.
_LOWEST, _HIGHEST = -1, 2
#: Integers whose maximum is below this fraction of their type's are noted, as 12 bits in 16 are: a 16th.
_DARK = 1 / 15


def range_notes(pixels: Pixels, normalisation: Normalisation, name: str) -> tuple[str, ...]:
    """What a user has to know of the values' range, one sentence each. Raises `ValuesOutOfRange`.

    Refused are floats far outside 0 to 1, and integers of 32 and 64 bits that use less than a 15th of their range;
    floats a little outside 0 to 1, and other integers that use less than a 15th, get a note.
    """
    if normalisation == "percentile" or pixels.dtype.kind == "b":
        return ()
    low, high = float(np.fmin.reduce(pixels, axis=None)), float(np.fmax.reduce(pixels, axis=None))
    if pixels.dtype.kind == "f":
        return _float_notes(low, high, name)
    maximum = float(np.iinfo(pixels.dtype.name).max)
    if not 0 < high < _DARK * maximum:
        return ()
    if pixels.dtype.itemsize > 2:
        raise ValuesOutOfRange(
            f"{name}: {pixels.dtype} values up to {high:,.0f}, and the model takes {maximum:,.0f} as white: convert "
            f"the image to uint8 or uint16"
        )
    return (
        f"The values reach {high:,.0f}, and the model takes {maximum:,.0f} as white; if the camera has fewer bits, "
        f"multiply the values.",
    )


def _float_notes(low: float, high: float, name: str) -> tuple[str, ...]:
    if low < _LOWEST or high > _HIGHEST:
        raise ValuesOutOfRange(
            f"{name}: float values from {low:g} to {high:g}, and the model takes 0 as black and 1 as white: scale the "
            f"image, such as by its maximum"
        )
    if low < 0 or high > 1:
        return (f"The values reach from {low:g} to {high:g}, and the model takes 0 as black and 1 as white.",)
    return ()
