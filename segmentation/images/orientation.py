"""The turns and flips of the Exif orientation. TIFF stores it as one of its own tags."""

from __future__ import annotations

from ..arrays import Pixels

#: The tag's number, the same in Exif and TIFF.
EXIF_ORIENTATION = 0x112


def upright(pixels: Pixels, orientation: object) -> Pixels:
    """(H, W, …) pixels, turned and flipped by the Exif orientation 1 to 8; any other value changes nothing."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return pixels[:, ::-1] if orientation in (2, 3, 6, 7) else pixels
