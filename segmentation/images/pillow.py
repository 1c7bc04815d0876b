"""Read PNG, JPEG and WebP with Pillow.

Values are as in the file, except that grey of 2 and 4 bits is spread over 0 to 255, and a palette and CMYK become RGB.
Colour profiles, gamma, significant bits and a single transparent colour are ignored: they say how to show a picture.
"""

import io

import numpy as np
from PIL import Image as PillowImage
from PIL import UnidentifiedImageError
from PIL.JpegImagePlugin import JpegImageFile

from ..arrays import Pixels
from ..errors import MultiPageImage, NotAnImage, TruncatedImage
from . import jpeg, png, webp
from .checks import EXIF_ORIENTATION, ImageLimits, check_size, short_message, upright
from .image import ChannelKind, Image

#: What the channels of a picture are, by their number.
KINDS = {1: ChannelKind.GREY, 2: ChannelKind.GREY_ALPHA, 3: ChannelKind.RGB, 4: ChannelKind.RGBA}
_PLAIN_CMYK = (
    "a CMYK JPEG without Adobe's mark, which half of the readers show as a negative; save it as RGB, in PNG or TIFF"
)
_CMYK_NOTE = "CMYK was converted to RGB without the file's colour profile."


def read_pillow(data: bytes, name: str, limits: ImageLimits) -> Image:
    """The picture, upright: (H, W, 1) to (H, W, 4). Raises an `ImageError`, or any exception on damaged bytes."""
    notes = []
    if webp.is_webp(data):
        _check_webp(data, name, limits)
    elif data.startswith(jpeg.MAGIC):
        jpeg.check_kind(data, name)
        if data.find(jpeg.MAGIC, jpeg.check_structure(data, name)) >= 0:
            notes.append("The file holds more pictures after the first, which alone is read.")
    elif not data.startswith(png.MAGIC[: len(data)]):
        raise TruncatedImage(
            f"{name}: a PNG whose first bytes are damaged, as by a transfer as text; send it again as binary"
        )
    else:
        png.check_structure(data, name)
    with _open(data, name) as image:
        check_size(image.height, image.width, name, limits)
        if (frames := getattr(image, "n_frames", 1)) > 1:
            raise MultiPageImage(f"{name}: an animated PNG of {frames} frames; save one as PNG, or all as a TIFF stack")
        if image.mode == "CMYK":
            if "adobe" not in image.info:
                raise NotAnImage(f"{name}: {_PLAIN_CMYK}")
            notes.append(_CMYK_NOTE)
        pixels = png.read_deep_colour(data, name) if png.is_deep_colour(data) else np.asarray(_to_intensities(image))
        return as_image(upright(pixels, _orientation(image)), *notes)


def as_image(pixels: Pixels, *notes: str) -> Image:
    """(H, W) or (H, W, 1 to 4) pixels of a picture, whose kind follows from their number of channels."""
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    return Image(pixels, KINDS[pixels.shape[2]], notes=notes)


def _open(data: bytes, name: str) -> PillowImage.Image:
    """The picture's header. Of a JPEG it is the first picture: `Image.open` would count those behind it as frames."""
    try:
        stream = io.BytesIO(data)
        if data.startswith(jpeg.MAGIC):
            return JpegImageFile(stream)
        return PillowImage.open(stream, formats=("PNG", "WEBP"))
    except MemoryError:
        raise
    except UnidentifiedImageError as error:
        raise TruncatedImage(f"{name}: damaged or cut short in its header") from error
    except Exception as error:
        raise TruncatedImage(f"{name}: damaged or cut short in its header ({short_message(error)})") from error


def _check_webp(data: bytes, name: str, limits: ImageLimits) -> None:
    """Check a WebP before it is opened, because Pillow allocates the canvas then."""
    header = webp.read_header(data, name)
    check_size(header.height, header.width, name, limits)
    if header.animated:
        raise MultiPageImage(f"{name}: an animated WebP; save one frame as PNG, or all as a TIFF stack")


def _to_intensities(image: PillowImage.Image) -> PillowImage.Image:
    """The image in a mode whose values are intensities, not palette indices or another colour space."""
    if image.mode in ("P", "PA"):
        return image.convert("RGBA" if "transparency" in image.info or image.mode == "PA" else "RGB")
    return image.convert("RGB") if image.mode in ("CMYK", "YCbCr", "LAB", "HSV") else image


def _orientation(image: PillowImage.Image) -> object:
    """The Exif orientation; 1 if the Exif block is damaged, because the pixels are still good."""
    try:
        return image.getexif().get(EXIF_ORIENTATION, 1)
    except Exception:
        return 1
