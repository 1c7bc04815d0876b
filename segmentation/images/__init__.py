"""The only place that decodes images: untrusted bytes → an array of pixels, or a typed error."""

from ..arrays import Pixels
from ..errors import ImageError, ImageTooLarge, TruncatedImage
from . import npy, tiff
from .checks import ImageLimits, short_message, validated
from .pillow import read_pillow

__all__ = ["ImageLimits", "Pixels", "decode"]


def decode(data: bytes, name: str = "image", limits: ImageLimits = ImageLimits()) -> Pixels:
    """Decode PNG, JPEG, TIFF, BMP, WebP or NumPy bytes to (H, W, C) pixels, upright, palettes expanded.

    Error messages call the image `name`. Raises an `ImageError`: `NotAnImage`, `TruncatedImage`, `EmptyImage`,
    `ImageTooLarge`, `MultiPageImage` or `NonFiniteImage`.
    """
    if len(data) > limits.max_bytes:
        raise ImageTooLarge(f"{name}: {len(data):,} bytes, over the limit of {limits.max_bytes:,} bytes")
    if data.startswith(tiff.MAGIC):
        reader = tiff.read_tiff
    elif data.startswith(npy.MAGIC):
        reader = npy.read_npy
    else:
        reader = read_pillow
    try:
        pixels = reader(data, name, limits)
    except ImageError:
        raise
    except MemoryError as error:
        raise ImageTooLarge(f"{name}: not enough memory to decode it") from error
    except Exception as error:  # decoders raise nearly anything on hostile bytes
        raise TruncatedImage(f"{name}: damaged or cut short ({short_message(error)})") from error
    return validated(pixels, name)
