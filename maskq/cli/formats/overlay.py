"""Overlay: the image in 8 bits as a PNG, each object tinted and outlined in its colour; a stack as a TIFF of planes."""

import io
from collections.abc import Iterator

import tifffile
from PIL import Image

from maskq.producer.client.job import Result
from maskq.segmentation.overlay import Picture, draw

from .result_format import ResultFormat
from .segmented_planes import segmented_planes


def encode(result: Result, image: bytes) -> tuple[str, bytes]:
    """The objects drawn on the image. Raises `SegmentationError` if the image can't be decoded."""
    pixels = segmented_planes(result, image)
    pictures = (draw(plane, labels) for plane, labels in zip(pixels, result.label_planes(), strict=True))
    file = io.BytesIO()
    if result.planes:
        _write_stack(file, pictures, result)
        return ".overlay.tif", file.getvalue()
    Image.fromarray(next(pictures)).save(file, "PNG", compress_level=1)
    return ".overlay.png", file.getvalue()


def _write_stack(file: io.BytesIO, pictures: Iterator[Picture], result: Result) -> None:
    with tifffile.TiffWriter(file) as tiff:
        tiff.write(
            pictures,
            shape=(*result.shape, *result.size, 3),
            dtype="uint8",
            photometric="rgb",
            compression="adobe_deflate",
            metadata={"axes": f"{result.axes}S"},
        )


FORMAT = ResultFormat("overlay", {".overlay.png": "image/png", ".overlay.tif": "image/tiff"}, encode, needs_image=True)
