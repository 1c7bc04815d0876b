"""Read JPEG XL, in a process of its own: frames inside the file can claim sizes that no check of its header sees."""

from ..errors import MultiPageImage, TruncatedImage
from . import isolated, jpegxl
from .checks import ImageLimits, check_channels, check_size
from .image import ChannelKind, Image
from .pillow import KINDS


def read_jpegxl(data: bytes, name: str, limits: ImageLimits) -> Image:
    """The picture, upright: (H, W, C), values as stored. Raises an `ImageError`, or `IndexError` if it is cut short."""
    header = jpegxl.read_header(data, name)
    channels = header.colours + header.extra_channels
    check_size(header.height, header.width, name, limits)
    check_channels(channels, name)
    if header.animated:
        raise MultiPageImage(f"{name}: an animated JPEG XL; save one frame as PNG, or all as a TIFF stack")
    pixels = isolated.decode("jpegxl", data, header.height * header.width * channels, name)
    pixels = pixels[..., None] if pixels.ndim == 2 else pixels
    if pixels.shape[0] * pixels.shape[1] != header.height * header.width:  # the orientation may have swapped them
        raise TruncatedImage(f"{name}: damaged: {pixels.shape}, not {header.height}×{header.width} as its header says")
    whole = header.extra_channels == int(header.alpha) and pixels.shape[2] == channels
    return Image(pixels, KINDS[channels] if whole else ChannelKind.SEPARATE)
