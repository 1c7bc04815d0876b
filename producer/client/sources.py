"""Reads a source (a path, bytes, an open file, a picture, an array) into an image file's bytes, name and shape."""

from __future__ import annotations

import inspect
import io
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, TypeGuard

from ..errors import InvalidJob, PayloadTooLarge
from ..printable import printable_name
from ..schema import Options
from .arrays import npy_bytes
from .pictures import picture_bytes
from .upload import StoredImage

if TYPE_CHECKING:
    from typing import IO

    from PIL import Image


class SupportsArray(Protocol):
    """An object that numpy.asarray takes: an array of NumPy, torch, xarray, dask, zarr, pandas …"""

    def __array__(self, *args: Any, **kwargs: Any) -> Any: ...


#: An image to submit: a path, an image file's bytes or the open file, a Pillow image, or pixels (`arrays.npy_bytes`).
Source: TypeAlias = "str | os.PathLike[str] | bytes | bytearray | memoryview | IO[bytes] | Image.Image | SupportsArray"
#: Bytes of a file that are parsed for its shape. A longer header counts as too expensive to read.
_HEAD, _NPY_HEAD = 65_536, 1024
#: Bytes that are read from an open file at once.
_CHUNK = 16 * 1024**2


def read_source(source: Source, name: str | None, max_bytes: int, options: Options = Options()) -> tuple[bytes, str]:
    """The image file's bytes and the job's name: `name`, by default the file's.

    Raises `PayloadTooLarge`, `InvalidJob` for a source that is not an image, and `OSError` if the file can't be read.
    """
    if isinstance(source, str | os.PathLike):
        path = Path(source)
        name = name or path.name
        _check_bytes(path.stat().st_size, name, max_bytes)
        data = path.read_bytes()
    elif _is_picture(source):
        name = name or _file_name(source) or "image"
        data = picture_bytes(source, name)
    elif hasattr(source, "read") and not hasattr(source, "__array__"):
        name = name or _file_name(source) or "image"
        data = _read_open_file(source, name, max_bytes)
    elif isinstance(source, bytes | bytearray) or (isinstance(source, memoryview) and _is_of_bytes(source)):
        name = name or "image"
        _check_bytes(len(source), name, max_bytes)
        data = bytes(source)
    else:
        name = name or "array"
        data = npy_bytes(source, options.axes, name, max_bytes)
    _check_bytes(len(data), name, max_bytes)
    return data, printable_name(name)


def _check_bytes(size: int, name: str, max_bytes: int) -> None:
    if size > max_bytes:
        raise PayloadTooLarge(f"{name}: {size:,} bytes, over the limit of {max_bytes:,} bytes")


def _is_picture(source: Any) -> TypeGuard[Image.Image]:
    """Whether the source is a Pillow image. Pillow is not imported for it: nobody has one without it."""
    picture = getattr(sys.modules.get("PIL.Image"), "Image", None)  # another thread may import it at this moment
    return picture is not None and isinstance(source, picture)


def _is_of_bytes(view: memoryview) -> bool:
    """Whether a view is a file's bytes; any other is an array."""
    return view.ndim == 1 and view.itemsize == 1


def _file_name(source: Any) -> str | None:
    """The name of an open file, upload or picture, without folders; None if it has none."""
    names = (getattr(source, "filename", None), getattr(source, "name", None))  # Flask's `name` is the form's field
    return next((Path(name).name for name in names if isinstance(name, str) and name), None)


def _read_open_file(file: Any, name: str, max_bytes: int) -> bytes:
    """The bytes from the file's position on, which is then restored if possible, so that a retry reads them again.

    Raises `InvalidJob` for a text file, an asynchronous file and an empty one, and `PayloadTooLarge`.
    """
    if inspect.iscoroutinefunction(file.read):
        raise InvalidJob(f"{name}: its read() is asynchronous: submit the file inside (upload.file) or its bytes")
    start = _position(file)
    data, size = io.BytesIO(), 0
    while part := file.read(_CHUNK):
        if not isinstance(part, bytes | bytearray | memoryview):
            raise InvalidJob(
                f"{name}: read() gives {type(part).__name__}, not bytes: open the file in binary mode (rb)"
            )
        data.write(part)
        size += len(part)
        _check_bytes(size, name, max_bytes)
    if start is not None:
        file.seek(start)
    if not size:
        raise InvalidJob(f"{name}: no bytes to read: it is empty, or was read before (then file.seek(0))")
    return data.getvalue()


def _position(file: Any) -> int | None:
    """The file's position; None if it can't go back to it."""
    try:
        return int(file.tell()) if file.seekable() else None
    except (AttributeError, OSError):
        return None


def shape_of(image: bytes | StoredImage, axes: str | None = None) -> str | None:
    """`HxW` from the header, by which the ledger chooses a job's lane; None if it is unreadable or expensive to read.

    `axes` names those of a .npy file. The worker checks the image anyway.
    """
    start = image.head if isinstance(image, StoredImage) else image
    if start.startswith(b"\x93NUMPY"):
        return _npy_shape(start, axes or "YX")
    from PIL import Image

    # Pillow keeps every segment and chunk of a header and scans every byte between them: a hostile header of 16 MB
    # would take half a minute, before any check has run.
    if start.startswith((b"\x89PNG", b"\xff\xd8\xff")):
        file: IO[bytes] = io.BytesIO(start[:_HEAD])
    else:
        file = image.ends() if isinstance(image, StoredImage) else io.BytesIO(image)
    try:
        with Image.open(file, formats=("PNG", "JPEG", "TIFF", "BMP", "WEBP")) as header:
            return f"{header.height}x{header.width}"
    except Exception:  # on untrusted bytes, decoders raise nearly anything
        return None


def _npy_shape(image: bytes, axes: str) -> str | None:
    from numpy.lib import format as npy

    stream = io.BytesIO(image[:_NPY_HEAD])
    try:
        read_header = npy.read_array_header_1_0 if npy.read_magic(stream) == (1, 0) else npy.read_array_header_2_0
        shape, _, _ = read_header(stream)
        height, width = shape[axes.index("Y")], shape[axes.index("X")]
        # `True` and negative numbers are sizes to NumPy's reader of headers.
        return f"{height}x{width}" if type(height) is type(width) is int and min(height, width) >= 0 else None
    except Exception:  # on untrusted bytes, and axes that are not the array's
        return None
