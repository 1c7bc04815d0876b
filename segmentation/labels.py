"""Label images as files: 16-bit PNG, or 32-bit TIFF beyond 65,535 objects."""

import io
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin, TiffImagePlugin

from .arrays import Labels

_PNG = b"\x89PNG"


def encode(labels: Labels) -> bytes:
    """(H, W) labels, none negative → a lossless file: PNG, or TIFF if a label exceeds 65,535."""
    if labels.max(initial=0) > 65_535:
        return _encode_with_pillow(labels, "TIFF", compression="tiff_adobe_deflate")
    small = np.ascontiguousarray(labels, np.uint16)
    try:
        # One filter for all rows: trying every filter per row, the default, takes four times as long and saves nothing.
        return bytes(imagecodecs.png_encode(small, level=2, filter=imagecodecs.PNG.FILTER.SUB))
    except imagecodecs.PngError:  # more than 1,000,000 pixels a side, and some images one pixel wide
        return _encode_with_pillow(small, "PNG", compress_level=1)


def _encode_with_pillow(labels: NDArray[Any], file_format: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(labels).save(stream, file_format, **options)
    return stream.getvalue()


def decode(file: bytes) -> Labels:
    """The (H, W) int32 labels of a file that `encode` wrote."""
    if file.startswith(_PNG):
        try:
            return np.asarray(imagecodecs.png_decode(file)).astype(np.int32)
        except imagecodecs.PngError:  # as in `encode`
            with PngImagePlugin.PngImageFile(io.BytesIO(file)) as image:
                return np.asarray(image).astype(np.int32)
    with TiffImagePlugin.TiffImageFile(io.BytesIO(file)) as image:
        return np.asarray(image).astype(np.int32)


def suffix(file: bytes) -> str:
    """The suffix for a file that `encode` wrote: `.png` or `.tif`."""
    return ".png" if file.startswith(_PNG) else ".tif"
