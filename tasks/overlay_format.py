"""Overlay: the image in 8 bits as a PNG, each object tinted and outlined in its colour; a stack as a TIFF of planes.

It is on this floor, not with the other formats, because it reads the image as a worker does.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import TYPE_CHECKING

from maskq.producer.formats.result_format import FormatOptions, ResultFormat

if TYPE_CHECKING:
    from maskq.producer.client.job import Result
    from maskq.segmentation.overlay import Picture


def ending(result: Result) -> str:
    """`.overlay.png`, or `.overlay.tif` for a stack."""
    return ".overlay.tif" if result.planes else ".overlay.png"


def chunks(result: Result, options: FormatOptions) -> Iterator[bytes]:
    """The objects drawn on the image. Raises `SegmentationError` if the image can't be decoded."""
    from PIL import Image

    from maskq.segmentation.overlay import draw

    from .segmented_planes import segmented_planes

    pixels = segmented_planes(result, options.image)
    pictures = (draw(plane, labels) for plane, labels in zip(pixels, result.label_planes(), strict=True))
    file = io.BytesIO()
    if result.planes:
        _write_stack(file, pictures, result)
    else:
        Image.fromarray(next(pictures)).save(file, "PNG", compress_level=1)
    yield file.getvalue()


def _write_stack(file: io.BytesIO, pictures: Iterator[Picture], result: Result) -> None:
    import tifffile

    with tifffile.TiffWriter(file) as tiff:
        tiff.write(
            pictures,
            shape=(*result.shape, *result.size, 3),
            dtype="uint8",
            photometric="rgb",
            compression="adobe_deflate",
            metadata={"axes": f"{result.axes}S"},
        )


FORMAT = ResultFormat(
    "overlay",
    "picture of the objects",
    {".overlay.png": "image/png", ".overlay.tif": "image/tiff"},
    chunks,
    choose_ending=ending,
    needs_image=True,
    packages=("imagecodecs", "tifffile"),
    extra="cluster",
)
