"""NaN and infinite values: refused, or background, in the channels that are segmented."""

from dataclasses import replace

import numpy as np

from ..errors import NonFiniteImage
from .channels import Choice, channel_numbers
from .image import Image
from .tiff.no_data import NO_DATA


def check_finite(image: Image, wanted: Choice | None, name: str, *, nan_as_background: bool) -> Image:
    """The image if the wanted channels, None for all, are finite. Raises `NonFiniteImage`, or as `channel_numbers`.

    With `nan_as_background`, the wanted channels may have such values, which a note counts, but not only these.
    Infinite values become NaN.
    """
    pixels = image.pixels
    if pixels.dtype.kind != "f" or (finite := np.isfinite(pixels)).all():
        return image
    chosen = finite[..., [number - 1 for number in channel_numbers(image, wanted, name)]]
    cleared = image.with_pixels(np.where(finite, pixels, pixels.dtype.type(np.nan)))
    if chosen.all():
        return cleared
    what = "NaN or infinite" + (f", or {NO_DATA}" if any(NO_DATA in note for note in image.notes) else "")
    if not nan_as_background:
        raise NonFiniteImage(
            f"{name}: {int((~chosen).sum()):,} values are {what}; replace them, or set the option "
            f"`nan_as_background` to take them as background"
        )
    if not chosen.any():
        raise NonFiniteImage(f"{name}: all values are {what}")
    count = np.count_nonzero(~chosen.all(axis=2))
    note = f"{count:,} of {pixels.shape[0] * pixels.shape[1]:,} pixels are NaN or infinite: background."
    # a plane of a stack has the note already
    return cleared if note in image.notes else replace(cleared, notes=(*image.notes, note))
