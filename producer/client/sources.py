"""Reads a source (a path, bytes or an array) into an image file's bytes, its name, and its shape from the header."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from ..errors import InvalidJob, PayloadTooLarge

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: An image to submit: a path, an image file's bytes, or pixels (H, W) or (H, W, channels).
Source: TypeAlias = "str | os.PathLike[str] | bytes | NDArray[Any]"
#: Bytes of a file that are parsed for its shape. A longer header counts as too expensive to read.
_HEAD, _NPY_HEAD = 65_536, 1024


def read_source(source: Source, name: str | None, max_bytes: int) -> tuple[bytes, str]:
    """The image file's bytes and the job's name: `name`, by default the file's.

    Raises `PayloadTooLarge`, `InvalidJob` for an array that is not an image, and `OSError` if the file can't be read.
    """
    if isinstance(source, str | os.PathLike):
        path = Path(source)
        name = name or path.name
        _check_bytes(path.stat().st_size, name, max_bytes)
        data = path.read_bytes()
    elif isinstance(source, bytes):
        data, name = source, name or "image"
    else:
        data, name = _npy(source), name or "array"
    _check_bytes(len(data), name, max_bytes)
    return data, _printable(name)


def _check_bytes(size: int, name: str, max_bytes: int) -> None:
    if size > max_bytes:
        raise PayloadTooLarge(f"{name}: {size:,} bytes, over the limit of {max_bytes:,} bytes")


def _npy(pixels: NDArray[Any]) -> bytes:
    import numpy as np

    stream = io.BytesIO()
    try:
        np.save(stream, np.asarray(pixels), allow_pickle=False)
    except ValueError as error:
        raise InvalidJob(f"an array of {np.asarray(pixels).dtype} is no image") from error
    return stream.getvalue()


def _printable(name: str) -> str:
    """The name as valid UTF-8 (a file's name may have any bytes), 255 characters at most."""
    return name.encode("utf-8", "replace").decode()[:255]


def shape_of(image: bytes) -> str | None:
    """`HxW` from the header, by which the ledger chooses a job's lane; None if it is unreadable or expensive to read.

    The worker checks the image anyway.
    """
    if image.startswith(b"\x93NUMPY"):
        return _npy_shape(image)
    from PIL import Image

    # Pillow keeps every segment and chunk of a header and scans every byte between them: a hostile header of 16 MB
    # would take half a minute, before any check has run.
    head = image[:_HEAD] if image.startswith((b"\x89PNG", b"\xff\xd8\xff")) else image
    try:
        with Image.open(io.BytesIO(head), formats=("PNG", "JPEG", "TIFF", "BMP", "WEBP")) as header:
            return f"{header.height}x{header.width}"
    except Exception:  # on untrusted bytes, decoders raise nearly anything
        return None


def _npy_shape(image: bytes) -> str | None:
    from numpy.lib import format as npy

    stream = io.BytesIO(image[:_NPY_HEAD])
    try:
        read_header = npy.read_array_header_1_0 if npy.read_magic(stream) == (1, 0) else npy.read_array_header_2_0
        shape, _, _ = read_header(stream)
    except Exception:
        return None
    return "x".join(map(str, shape[:2])) if len(shape) >= 2 else None
