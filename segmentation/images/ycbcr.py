"""YCbCr as JPEG has it, full range. Source: ITU-T T.871."""

import numpy as np

from ..arrays import Pixels
from .checks import row_bands

_CENTRE = np.array([0, 128, 128], np.float32)
_TO_RGB = np.array([[1, 0, 1.402], [1, -0.344136, -0.714136], [1, 1.772, 0]], np.float32)


def to_rgb(pixels: Pixels) -> Pixels:
    """(H, W, 3) uint8 YCbCr → (H, W, 3) uint8 RGB."""
    rgb = np.empty(pixels.shape, np.uint8)
    for band in row_bands(*pixels.shape[:2]):
        colours = (pixels[band].astype(np.float32) - _CENTRE) @ _TO_RGB.T
        rgb[band] = np.clip(np.rint(colours), 0, 255)
    return rgb
