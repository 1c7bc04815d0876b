"""The only place that decodes images: untrusted bytes → pixels and what is known of them, or a typed error."""

from ..arrays import Pixels
from ..errors import ImageError, ImageTooLarge, MultiPageImage, TruncatedImage
from . import npy, tiff
from .checks import ImageLimits, short_message, validated
from .image import ChannelKind, Image, Stack
from .pillow import read_pillow

__all__ = ["ChannelKind", "Image", "ImageLimits", "Pixels", "Stack", "decode", "read_image"]


def read_image(data: bytes, name: str = "image", limits: ImageLimits = ImageLimits()) -> Image | Stack:
    """Read PNG, JPEG, TIFF, BMP, WebP or NumPy bytes.

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
    return Image.of(validated(pixels, name))


def decode(data: bytes, name: str = "image", limits: ImageLimits = ImageLimits()) -> Pixels:
    """The (H, W, C) pixels of one image, with all channels. Raises as `read_image` does, and `MultiPageImage`."""
    image = read_image(data, name, limits)
    if isinstance(image, Stack):
        raise MultiPageImage(f"{name}: {image.count} planes (axes {image.axes}); choose with the option planes")
    return image.pixels
