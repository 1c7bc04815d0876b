"""Overlay: the image in 8 bits as a PNG, each object tinted and outlined in a colour of its own."""

import io
import sys

from PIL import Image

from maskq.producer.client.job import Result
from maskq.segmentation.images import ImageLimits, decode
from maskq.segmentation.overlay import draw

from .result_format import ResultFormat

#: No limits here: the worker has accepted the image.
_NO_LIMITS = ImageLimits(max_bytes=sys.maxsize, max_pixels=sys.maxsize)


def encode(result: Result, image: bytes) -> tuple[str, bytes]:
    """The objects drawn on the image. Raises `SegmentationError` if the image can't be decoded."""
    pixels = decode(image, result.job.spec.name, _NO_LIMITS)
    file = io.BytesIO()
    Image.fromarray(draw(pixels, result.labels)).save(file, "PNG", compress_level=1)
    return ".overlay.png", file.getvalue()


FORMAT = ResultFormat("overlay", {".overlay.png": "image/png"}, encode, needs_image=True)
