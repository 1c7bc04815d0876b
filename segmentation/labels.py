"""Label images as files: 16-bit PNG, or 32-bit TIFF beyond 65,535 objects."""

from __future__ import annotations

import io
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from PIL import Image

#: The most objects that a 16-bit PNG can tell apart.
PNG_MOST = 65_535


def encode(labels: NDArray[np.int32]) -> bytes:
    """(H, W) int32 labels, none negative → the file's bytes, lossless."""
    if labels.max(initial=0) > PNG_MOST:
        return _by_pillow(labels, "TIFF", compression="tiff_adobe_deflate")
    small = np.ascontiguousarray(labels, np.uint16)
    try:
        # Labels are flat: to try every filter on every row, as is usual, takes four times as long and saves nothing.
        return bytes(imagecodecs.png_encode(small, level=2, filter=imagecodecs.PNG.FILTER.SUB))
    except imagecodecs.PngError:  # beyond 1,000,000 pixels a side, and some of one pixel's width
        return _by_pillow(small, "PNG", compress_level=1)


def _by_pillow(labels: NDArray[Any], kind: str, **how: Any) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(labels).save(stream, kind, **how)
    return stream.getvalue()


def suffix(file: bytes) -> str:
    """`.png` or `.tif`, by what `encode` wrote."""
    return ".png" if file.startswith(b"\x89PNG") else ".tif"
