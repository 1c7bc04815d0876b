"""How tifffile writes the test pictures."""

import io
from typing import Any, TypeAlias

import tifffile

from ..pictures import Array

Options: TypeAlias = dict[str, Any]


def tiff(pixels: Any, **options: Any) -> bytes:
    """A file of `tifffile.imwrite`; grey or RGB by the shape, unless the options say otherwise."""
    stream = io.BytesIO()
    options = {name: dict(value) if isinstance(value, dict) else value for name, value in options.items()}
    tifffile.imwrite(stream, pixels, **{"photometric": _photometric(pixels)} | options)  # it changes compressionargs
    return stream.getvalue()


def pages(*each: tuple[Array, Options], **options: Any) -> bytes:
    """A file of one page for each array, with options of its own; compressed, without metadata."""
    stream = io.BytesIO()
    with tifffile.TiffWriter(stream, **options) as file:
        for pixels, own in each:
            shared: Options = {"photometric": _photometric(pixels), "metadata": None, "compression": "deflate"}
            file.write(pixels, **shared | own)
    return stream.getvalue()


def _photometric(pixels: Any) -> str:
    return "rgb" if getattr(pixels, "ndim", 2) >= 3 and pixels.shape[-1] in (3, 4) else "minisblack"
