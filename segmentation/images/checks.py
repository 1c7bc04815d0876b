"""How large an image may be, and the checks that the formats share."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image

from ..arrays import Pixels
from ..errors import EmptyImage, ImageTooLarge, NonFiniteImage, NotAnImage, TruncatedImage

# The limit is ours, checked on the header; Pillow's own is one global number that warns first.
Image.MAX_IMAGE_PIXELS = None

_MAX_CHANNELS = 16
_LONGEST_REASON = 200
_ADDRESS = re.compile(" object at 0x[0-9a-f]+")
#: Pixels that are worked on at a time where a step needs more memory than its outcome.
_BAND = 1 << 20


@dataclass(frozen=True)
class ImageLimits:
    """The largest image that is decoded.

    Headers are checked against it before any pixel is decoded, so a small file cannot ask for a huge array.
    """

    #: Bytes of the encoded file.
    max_bytes: int = 256 * 1024**2
    #: Height times width.
    max_pixels: int = 100_000_000

    @property
    def max_decoded(self) -> int:
        """Bytes of the decoded array: 12 a pixel (RGB in 32 bits) of the largest image."""
        return 12 * self.max_pixels


def checked(pixels: Pixels, name: str) -> Pixels:
    """The pixels as (H, W, C), if a network can take them."""
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    if pixels.ndim != 3 or pixels.shape[2] > _MAX_CHANNELS:
        raise NotAnImage(f"{name}: shape {pixels.shape} is not (H, W) or (H, W, channels up to {_MAX_CHANNELS})")
    if pixels.size == 0:
        raise EmptyImage(f"{name}: shape {pixels.shape} has 0 pixels")
    if pixels.dtype.kind not in "buif":
        raise NotAnImage(f"{name}: pixels of type {pixels.dtype} are not numbers")
    if pixels.dtype.itemsize > 8:  # long double: nothing else has it
        with np.errstate(over="ignore", invalid="ignore"):
            pixels = pixels.astype(np.float64)
    if pixels.dtype.kind == "f" and not np.isfinite(pixels).all():
        raise NonFiniteImage(f"{name}: {int((~np.isfinite(pixels)).sum()):,} values are NaN or infinite")
    return np.ascontiguousarray(pixels, pixels.dtype.newbyteorder("="))


def check_size(height: int, width: int, name: str, limits: ImageLimits) -> None:
    """Raises `EmptyImage` or `ImageTooLarge` by the sides that a header claims."""
    if height == 0 or width == 0:
        raise EmptyImage(f"{name}: {height}×{width} has 0 pixels")
    if height * width > limits.max_pixels:
        raise ImageTooLarge(
            f"{name}: {height}×{width} is {height * width:,} pixels, over the limit of {limits.max_pixels:,} pixels"
        )


def check_channels(channels: int, name: str) -> None:
    """Raises `EmptyImage` or `NotAnImage` by the channels that a header claims."""
    if channels == 0:
        raise EmptyImage(f"{name}: 0 channels")
    if channels > _MAX_CHANNELS:
        raise NotAnImage(f"{name}: {channels} channels, more than {_MAX_CHANNELS}")


def bands(height: int, width: int) -> Iterator[slice]:
    """Rows of an image, top to bottom, about a megapixel at a time."""
    step = max(1, _BAND // width)
    return (slice(top, min(top + step, height)) for top in range(0, height, step))


def check_present(there: int, wanted: int, name: str) -> None:
    """Raises `TruncatedImage` where fewer bytes of pixels are there than the header claims."""
    if there < wanted:
        raise TruncatedImage(f"{name}: cut short: {there:,} of {wanted:,} bytes of pixels")


def reason(error: Exception) -> str:
    """What a decoder's own error says, on one line and in short: some quote the file, and where an object stands."""
    text = _ADDRESS.sub("", " ".join(str(error).split()))
    return f"{type(error).__name__}: {text}"[:_LONGEST_REASON]
