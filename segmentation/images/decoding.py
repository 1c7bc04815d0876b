"""Bytes → pixels, by the reader of the format that the first bytes name."""

from __future__ import annotations

from ..arrays import Pixels
from ..errors import ImageError, ImageTooLarge, TruncatedImage
from . import npy, pillow, tiff
from .checks import ImageLimits, checked, reason


def decode(data: bytes, name: str = "image", limits: ImageLimits = ImageLimits()) -> Pixels:
    """Decode PNG, JPEG, TIFF, BMP, WebP or NumPy bytes to (H, W, C) pixels, upright, palettes expanded.

    `name` is what error messages call the image. Raises an `ImageError`: `NotAnImage`, `TruncatedImage`,
    `EmptyImage`, `ImageTooLarge`, `MultiPageImage` or `NonFiniteImage`.
    """
    if len(data) > limits.max_bytes:
        raise ImageTooLarge(f"{name}: {len(data):,} bytes, over the limit of {limits.max_bytes:,} bytes")
    if data.startswith(tiff.MAGIC):
        read = tiff.read
    elif data.startswith(npy.MAGIC):
        read = npy.read
    else:
        read = pillow.read
    try:
        pixels = read(data, name, limits)
    except ImageError:
        raise
    except MemoryError as error:
        raise ImageTooLarge(f"{name}: not enough memory to decode it") from error
    except Exception as error:  # decoders raise nearly anything on hostile bytes
        raise TruncatedImage(f"{name}: damaged or cut short ({reason(error)})") from error
    return checked(pixels, name)
