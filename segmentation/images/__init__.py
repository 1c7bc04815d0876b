"""The only place that decodes images: untrusted bytes → pixels and what is known of them, or a typed error."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from ..arrays import Pixels
from ..errors import ImageError, ImageTooLarge, InapplicableOption, MultiPageImage, TruncatedImage
from . import npy, plane_file, tiff
from .checks import ImageLimits, short_message, validated
from .file_kinds import is_dicom
from .finite import check_finite
from .image import ChannelKind, Image, Stack, View
from .pictures import read_picture
from .plain_view import check_axes, check_view, crop

__all__ = ["ChannelKind", "Image", "ImageLimits", "Pixels", "Stack", "View", "decode", "read_image"]


def read_image(
    data: bytes, name: str = "image", limits: ImageLimits = ImageLimits(), view: View = View()
) -> Image | Stack:
    """Read PNG, JPEG, TIFF, BMP, WebP, JPEG 2000, JPEG XL or NumPy bytes.

    Error messages call the image `name`. Raises an `ImageError`: `NotAnImage`, `TruncatedImage`, `EmptyImage`,
    `ImageTooLarge`, `MultiPageImage` or `NonFiniteImage`; so does `Stack.read` for a plane.
    """
    if len(data) > limits.max_bytes:
        raise ImageTooLarge(f"{name}: {len(data):,} bytes, over the limit of {limits.max_bytes:,} bytes")
    with _decoder_errors(name):
        found = _decode(data, name, limits, view)
        return found if isinstance(found, Stack) else _checked(found, name, view)


def _decode(data: bytes, name: str, limits: ImageLimits, view: View) -> Image | Stack:
    """What the format's reader returns; the planes of a stack are checked as they are read."""
    found: Image | Stack
    if not data.startswith(npy.MAGIC):
        check_axes(view, name)
    if not data.startswith(tiff.MAGIC):
        check_view(view, name)
    if is_dicom(data):  # the 128 bytes before its own may be those of a TIFF
        found = read_picture(data, name, limits)
    elif data.startswith(npy.MAGIC):
        found = _cropped(npy.read_npy(data, name, limits, view.axes), view, name)
    elif data.startswith(plane_file.MAGIC):
        found = _cropped(plane_file.read_plane(data, name, limits), view, name)
    elif data.startswith(tiff.MAGIC):
        found = tiff.read_tiff(data, name, limits, view)
    else:
        found = _cropped(read_picture(data, name, limits), view, name)
    return _with_checked_planes(found, name, view) if isinstance(found, Stack) else found


def _with_checked_planes(stack: Stack, name: str, view: View) -> Stack:
    def read(index: int) -> Image:
        plane = f"{name}, plane {index + 1}"
        with _decoder_errors(plane):
            return _checked(stack.read(index), plane, view)

    return replace(stack, read=read)


def _cropped(found: Image | Stack, view: View, name: str) -> Image | Stack:
    if isinstance(found, Image):
        return crop(found, view.region, name)
    if view.region is None:
        return found
    raise InapplicableOption(f"{name}: the option region is for images and TIFFs; cut the array before it is submitted")


def _checked(image: Image, name: str, view: View) -> Image:
    """The image with validated pixels, and a note of those that are NaN. Raises an `ImageError`."""
    checked = image.with_pixels(validated(image.pixels, name))
    return check_finite(checked, view.channels, name, nan_as_background=view.nan_as_background)


@contextmanager
def _decoder_errors(name: str) -> Iterator[None]:
    """Turns what decoders raise, which on hostile bytes is nearly anything, into an `ImageError`."""
    try:
        yield
    except ImageError:
        raise
    except MemoryError as error:
        raise ImageTooLarge(f"{name}: not enough memory to decode it") from error
    except Exception as error:
        raise TruncatedImage(f"{name}: damaged or cut short ({short_message(error)})") from error


def decode(data: bytes, name: str = "image", limits: ImageLimits = ImageLimits()) -> Pixels:
    """The (H, W, C) pixels of one image, with all channels. Raises as `read_image` does, and `MultiPageImage`."""
    image = read_image(data, name, limits)
    if isinstance(image, Stack):
        raise MultiPageImage(f"{name}: {image.count} planes (axes {image.axes}); choose with the option planes")
    return image.pixels
