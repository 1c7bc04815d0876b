"""GDAL's tag 42113: the value of pixels that have no data, such as beyond the border of a mosaic."""

from dataclasses import replace
from typing import Any

import numpy as np

from ...arrays import Pixels
from ..image import Image
from .directory import NO_DATA as _TAG
from .directory import Directory

#: What notes and errors say of such pixels.
NO_DATA = "no data by the TIFF's tag"


def without_no_data(image: Image, stored: Pixels, page: Directory, data: bytes) -> Image:
    """The image; floats without data are NaN, and a note says how many pixels there are, unless the value is 0.

    Integers have no NaN: they keep the value, and the note says so. The tag's value is one of the `stored` samples,
    (H, W, S), from which the image was made: it differs from these for a palette, CMYK and WhiteIsZero, all integers.
    """
    value = _no_data(page, data)
    if not value or not _fits(value, stored.dtype):
        return image
    found = stored == np.asarray(value).astype(stored.dtype)
    count = int(found.any(axis=2).sum())
    if not count:
        return image
    note = f"{count:,} pixels have the value {value:g}, which is {NO_DATA}"
    if image.pixels.dtype.kind != "f":
        return replace(image, notes=(*image.notes, f"{note}; they were taken as values."))
    pixels = np.where(found, np.asarray(np.nan, image.pixels.dtype), image.pixels)
    return replace(image, pixels=pixels, notes=(*image.notes, f"{note}: NaN."))


def _fits(value: float, dtype: np.dtype[Any]) -> bool:
    """Whether pixels of this type can have the value."""
    if dtype.kind not in "ui":
        return dtype.kind == "f"
    return value.is_integer() and np.iinfo(dtype.name).min <= value <= np.iinfo(dtype.name).max


def _no_data(page: Directory, data: bytes) -> float | None:
    text = page.values(data, _TAG).tobytes().split(b"\0")[0]
    try:
        value = float(text)
    except ValueError:
        return None
    return value if np.isfinite(value) else None
