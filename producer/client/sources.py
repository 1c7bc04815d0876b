"""Reads a source (a path, bytes or an array) into the bytes and the name of an image file."""

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
