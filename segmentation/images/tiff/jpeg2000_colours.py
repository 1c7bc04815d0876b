"""YCbCr in TIFFs of JPEG 2000: the decoder makes RGB of it only if the codestream has the transform itself.

Aperio's compression 33003 holds plain YCbCr, whatever the colour space's tag says, as OpenSlide reads it.
"""

import numpy as np

from ...arrays import Pixels
from ...errors import NotAnImage
from .. import ycbcr
from ..jpeg2000 import read_codestream
from .colours import YCBCR
from .directory import STRIP_COUNTS, STRIP_OFFSETS, TILE_COUNTS, TILE_OFFSETS, Directory

_JPEG2000, _APERIO_YCBCR = frozenset({33003, 33004, 33005, 34712}), 33003


def to_rgb(pixels: Pixels, page: Directory, data: bytes, name: str) -> Pixels:
    """(H, W, C) decoded samples of any TIFF; those that are still YCbCr become RGB. Raises `NotAnImage`."""
    if page.compression not in _JPEG2000 or (page.compression != _APERIO_YCBCR and page.photometric != YCBCR):
        return pixels
    if pixels.shape[2] != 3 or _is_transformed(page, data, name):
        return pixels
    if pixels.dtype != np.uint8:
        raise NotAnImage(f"{name}: a TIFF of YCbCr in {pixels.dtype}; save it as RGB")
    return ycbcr.to_rgb(pixels)


def _is_transformed(page: Directory, data: bytes, name: str) -> bool:
    """Whether the first codestream that the page stores has the transform."""
    for starts, lengths in ((TILE_OFFSETS, TILE_COUNTS), (STRIP_OFFSETS, STRIP_COUNTS)):
        for start, length in zip(page.values(data, starts).tolist(), page.values(data, lengths).tolist(), strict=False):
            if start and length:
                return read_codestream(data[start : start + length], name).transforms_colours
    return True
