"""Read PNG, JPEG, BMP and WebP with Pillow."""

import io

import numpy as np
from PIL import Image, UnidentifiedImageError

from ..arrays import Pixels
from ..errors import MultiPageImage, NotAnImage, TruncatedImage
from . import jpeg, png
from .checks import EXIF_ORIENTATION, ImageLimits, check_size, short_message, upright

_FORMATS = ("PNG", "JPEG", "BMP", "WEBP")


def read_pillow(data: bytes, name: str, limits: ImageLimits) -> Pixels:
    """(H, W) or (H, W, C) pixels, upright. Raises an `ImageError`, or any exception on damaged bytes."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP" and len(data) >= 30:
        check_size(*_webp_size(data), name, limits)
    if data.startswith(jpeg.MAGIC):
        jpeg.check_structure(data, name)
    if data.startswith(png.MAGIC):
        png.check_structure(data, name)
    try:
        image = Image.open(io.BytesIO(data), formats=_FORMATS)
    except MemoryError:
        raise
    except Exception as error:
        if _begins_well(data):
            detail = "" if isinstance(error, UnidentifiedImageError) else f" ({short_message(error)})"
            raise TruncatedImage(f"{name}: damaged or cut short in its header, or of a rare kind{detail}") from error
        raise NotAnImage(f"{name}: not a PNG, JPEG, TIFF, BMP, WebP or NumPy file") from error
    with image:
        check_size(image.height, image.width, name, limits)
        frames = getattr(image, "n_frames", 1)
        if frames > 1:
            raise MultiPageImage(f"{name}: {frames} frames; send each frame as a separate image")
        pixels = png.read_deep_colour(data, name) if png.is_deep_colour(data) else np.asarray(_to_intensities(image))
        return upright(pixels, _orientation(image))


def _webp_size(data: bytes) -> tuple[int, int]:
    """Height and width in a WebP header. They are checked first: Pillow allocates the canvas on opening the file."""
    if data[12:16] == b"VP8X":
        return int.from_bytes(data[27:30], "little") + 1, int.from_bytes(data[24:27], "little") + 1
    if data[12:16] == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return (bits >> 14 & 0x3FFF) + 1, (bits & 0x3FFF) + 1
    return int.from_bytes(data[28:30], "little") & 0x3FFF, int.from_bytes(data[26:28], "little") & 0x3FFF


def _begins_well(data: bytes) -> bool:
    """Whether the first bytes are those of a format that this module reads."""
    if data.startswith(b"BM"):  # text can begin with BM too; a bitmap has four zero bytes at offset 6
        return data[6:10] == bytes(4)
    return data.startswith((png.MAGIC[:4], jpeg.MAGIC)) or (data[:4] == b"RIFF" and data[8:12] == b"WEBP")


def _to_intensities(image: Image.Image) -> Image.Image:
    """The image in a mode whose values are intensities, not palette indices or another colour space."""
    if image.mode in ("P", "PA"):
        return image.convert("RGBA" if "transparency" in image.info or image.mode == "PA" else "RGB")
    return image.convert("RGB") if image.mode in ("CMYK", "YCbCr", "LAB", "HSV") else image


def _orientation(image: Image.Image) -> object:
    """The Exif orientation; 1 if the Exif block is damaged, because the pixels are still good."""
    try:
        return image.getexif().get(EXIF_ORIENTATION, 1)
    except Exception:
        return 1
