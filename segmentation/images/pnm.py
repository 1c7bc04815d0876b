"""Read binary PGM and PPM. Source: netpbm's pgm(5) and ppm(5)."""

import re

import numpy as np

from ..errors import MultiPageImage, TruncatedImage
from .checks import ImageLimits, check_byte_count, check_size
from .image import Image
from .pillow import as_image

#: Kind, width, height and the highest value, with comments between them, and one space before the pixels.
_HEADER = re.compile(rb"P([56])%(s)s(\d{1,9})%(s)s(\d{1,9})%(s)s(\d{1,5})\s" % {b"s": rb"(?:\s|#[^\n\r]*[\n\r])+"})
_LONGEST_HEADER = 4096
_CHANNELS = {b"5": 1, b"6": 3}


def is_pnm(data: bytes) -> bool:
    """Whether the bytes begin as a binary PGM or PPM does."""
    return data[:2] in (b"P5", b"P6") and (data[2:3].isspace() or data[2:3] == b"#")


def read_pnm(data: bytes, name: str, limits: ImageLimits) -> Image:
    """The picture: (H, W, 1) or (H, W, 3), values as stored, uint16 if the header's highest value is over 255.

    Raises an `ImageError`.
    """
    header = _HEADER.match(data[:_LONGEST_HEADER])
    if not header:
        raise TruncatedImage(f"{name}: damaged or cut short in its header, of a PGM or PPM")
    width, height, highest = (int(number) for number in header.groups()[1:])
    check_size(height, width, name, limits)
    dtype = np.dtype("u1" if highest < 256 else ">u2")
    shape = (height, width, _CHANNELS[header[1]])
    count = height * width * shape[2]
    check_byte_count(len(data) - header.end(), count * dtype.itemsize, name)
    if is_pnm(data[header.end() + count * dtype.itemsize :][:3]):
        raise MultiPageImage(
            f"{name}: several pictures in one PGM or PPM file; save one as PNG, or all as a TIFF stack"
        )
    return as_image(np.frombuffer(data, dtype, count, header.end()).reshape(shape))
