"""Read JPEG XL, in a process of its own: frames inside the file can claim sizes that no check of its header sees."""

import numpy as np

from ..errors import MultiPageImage, NotAnImage, TruncatedImage
from . import isolated, jpegxl
from .checks import ImageLimits, check_channels, check_size
from .image import ChannelKind, Image
from .pillow import KINDS


def read_jpegxl(data: bytes, name: str, limits: ImageLimits) -> Image:
    """The picture, upright: (H, W, C), values as stored; extra channels that are not alpha are separate.

    Raises an `ImageError`, or `IndexError` if it is cut short.
    """
    header = jpegxl.read_header(data, name)
    channels = header.colours + header.extra_channels
    check_size(header.height, header.width, name, limits)
    check_channels(channels, name)
    if header.animated:
        raise MultiPageImage(f"{name}: an animated JPEG XL; save one frame as PNG, or all as a TIFF stack")
    coloured = header.extra_channels == int(header.alpha)
    if not coloured and (header.colours > 1 or header.alpha or header.orientation > 1):
        raise NotAnImage(
            f"{name}: a JPEG XL of {channels} channels that are not just colours and alpha; save it as TIFF"
        )
    pixels = isolated.decode("jpegxl", data, header.height * header.width * channels, name)
    pixels = pixels[..., None] if pixels.ndim == 2 else pixels
    if not coloured:  # imagecodecs gives grey and extra channels as planes
        pixels = np.moveaxis(pixels, 0, -1)
    if pixels.shape[0] * pixels.shape[1] != header.height * header.width:  # the orientation may have swapped them
        raise TruncatedImage(f"{name}: damaged: {pixels.shape}, not {header.height}×{header.width} as its header says")
    if pixels.shape[2] != channels:
        raise NotAnImage(
            f"{name}: a JPEG XL of {channels} channels, of which {pixels.shape[2]} are read; save it as TIFF"
        )
    return Image(pixels, KINDS[channels] if coloured else ChannelKind.SEPARATE)
