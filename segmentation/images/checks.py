"""The size limits of images, and the checks and the orientation that all formats share."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image

from ..arrays import Pixels
from ..errors import EmptyImage, ImageTooLarge, NotAnImage, TruncatedImage

# `ImageLimits` is checked on the header. Pillow's limit is one global number, and it only warns at first.
Image.MAX_IMAGE_PIXELS = None

_MAX_CHANNELS = 16
_MAX_MESSAGE = 200
_ADDRESS = re.compile(" object at 0x[0-9a-f]+")
#: The number of the orientation's tag, the same in Exif and TIFF.
EXIF_ORIENTATION = 0x112
#: Pixels per band, for steps that need more memory than their result.
_BAND = 1 << 20


@dataclass(frozen=True)
class ImageLimits:
    """The largest image that `decode` accepts, checked on headers: a small file cannot allocate a huge array."""

    #: Bytes of the encoded file.
    max_bytes: int = 256 * 1024**2
    #: Height times width.
    max_pixels: int = 100_000_000

    @property
    def max_decoded(self) -> int:
        """Bytes of the decoded array: `max_pixels` times 12 bytes (RGB in 32 bits)."""
        return 12 * self.max_pixels


def validated(pixels: Pixels, name: str) -> Pixels:
    """Decoded pixels → contiguous (H, W, C), native byte order. Raises `NotAnImage`, `EmptyImage`."""
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    if pixels.ndim != 3 or pixels.shape[2] > _MAX_CHANNELS:
        raise NotAnImage(f"{name}: shape {pixels.shape} is not (H, W) or (H, W, channels up to {_MAX_CHANNELS})")
    if pixels.size == 0:
        raise EmptyImage(f"{name}: shape {pixels.shape} has 0 pixels")
    if pixels.dtype.kind not in "buif":
        raise NotAnImage(f"{name}: pixels of type {pixels.dtype} are not numbers")
    if pixels.dtype.itemsize > 8:  # long double: only NumPy has it
        with np.errstate(over="ignore", invalid="ignore"):
            pixels = pixels.astype(np.float64)
    return np.ascontiguousarray(pixels, pixels.dtype.newbyteorder("="))


def check_size(height: int, width: int, name: str, limits: ImageLimits) -> None:
    """Raises `EmptyImage` or `ImageTooLarge` for the height and width in a file's header."""
    if height == 0 or width == 0:
        raise EmptyImage(f"{name}: {height}×{width} has 0 pixels")
    if height * width > limits.max_pixels:
        raise ImageTooLarge(
            f"{name}: {height}×{width} is {height * width:,} pixels, over the limit of {limits.max_pixels:,} pixels"
        )


def check_channels(channels: int, name: str) -> None:
    """Raises `EmptyImage` or `NotAnImage` for the number of channels in a file's header."""
    if channels == 0:
        raise EmptyImage(f"{name}: 0 channels")
    if channels > _MAX_CHANNELS:
        raise NotAnImage(f"{name}: {channels} channels, more than {_MAX_CHANNELS}")


def upright(pixels: Pixels, orientation: object) -> Pixels:
    """(H, W, …) pixels, turned and flipped by the Exif orientation 1 to 8; any other value changes nothing."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return pixels[:, ::-1] if orientation in (2, 3, 6, 7) else pixels


def row_bands(height: int, width: int) -> Iterator[slice]:
    """Slices of an image's rows, top to bottom, each about a megapixel."""
    step = max(1, _BAND // width)
    return (slice(top, min(top + step, height)) for top in range(0, height, step))


def check_byte_count(available: int, required: int, name: str) -> None:
    """Raises `TruncatedImage` if the file has fewer bytes of pixels than its header requires."""
    if available < required:
        raise TruncatedImage(f"{name}: cut short: {available:,} of {required:,} bytes of pixels")


def short_message(error: Exception) -> str:
    """A decoder's error on one line of at most 200 characters, as some quote the file; without memory addresses."""
    text = _ADDRESS.sub("", " ".join(str(error).split()))
    return f"{type(error).__name__}: {text}"[:_MAX_MESSAGE]
