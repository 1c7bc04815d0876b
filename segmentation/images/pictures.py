"""Finds the reader of a picture by its first bytes; files of other kinds are refused by name."""

from collections.abc import Callable

from ..errors import NotAnImage
from . import bmp, jpeg, jpeg2000, jpegxl, png, pnm, webp
from .checks import ImageLimits
from .file_kinds import is_dicom, recognise
from .image import Image
from .jpeg2000_file import read_jpeg2000
from .jpegxl_file import read_jpegxl
from .pillow import read_pillow


def read_picture(data: bytes, name: str, limits: ImageLimits) -> Image:
    """The picture, upright. Raises an `ImageError`, or any exception on damaged bytes; `NotAnImage` says what it is."""
    for begins, reader in _READERS:
        if begins(data) and not is_dicom(data):
            return reader(data, name, limits)
    kind = recognise(data)
    raise NotAnImage(f"{name}: {kind.name}, not a PNG, JPEG, TIFF, BMP, WebP or NumPy file; {kind.advice}")


def _is_by_pillow(data: bytes) -> bool:
    return data.startswith((png.MAGIC[:4], jpeg.MAGIC)) or webp.is_webp(data)


#: Whether a file begins as a format does, and the format's reader.
_READERS: tuple[tuple[Callable[[bytes], bool], Callable[[bytes, str, ImageLimits], Image]], ...] = (
    (_is_by_pillow, read_pillow),
    (bmp.is_bmp, bmp.read_bmp),
    (pnm.is_pnm, pnm.read_pnm),
    (lambda data: data.startswith((jpeg2000.FILE_MAGIC, jpeg2000.CODESTREAM_MAGIC)), read_jpeg2000),
    (lambda data: data.startswith((jpegxl.FILE_MAGIC, jpegxl.CODESTREAM_MAGIC)), read_jpegxl),
)
