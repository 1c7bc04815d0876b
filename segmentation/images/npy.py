"""Read NumPy arrays without unpickling. Their axes are plain, or named by the job; they are never guessed."""

import io
import math
from collections.abc import Callable

import numpy as np

from ..arrays import Pixels
from ..errors import EmptyImage, NotAnImage, TruncatedImage
from .array_axes import Layout, layout_of
from .checks import ImageLimits, check_byte_count, check_channels, check_size
from .image import Image, Stack

MAGIC = b"\x93NUMPY"
#: Bytes of the header. numpy writes 118 and parses the header as Python, so deep nesting can exhaust the parser. The
#: limit also keeps error messages that quote the header short.
_MAX_HEADER = 512
_MAX_DIMENSIONS = 6


def read_npy(data: bytes, name: str, limits: ImageLimits, axes: str | None = None) -> Image | Stack:
    """The array as an image, or as a stack if `axes` names planes (Z, T). See `array_axes` for the axes.

    The pixels are not checked yet. Raises an `ImageError`, or any exception on damaged bytes.
    """
    shape, is_fortran, dtype, offset = _read_header(data, name)
    layout = layout_of(shape, axes, name)
    check_size(layout.height, layout.width, name, limits)
    check_channels(layout.channels, name)
    check_byte_count(len(data) - offset, math.prod(shape) * dtype.itemsize, name)
    flat: Pixels = np.frombuffer(data, dtype, math.prod(shape), offset)
    planes = layout.arrange(flat.reshape(shape, order="F" if is_fortran else "C"))
    if layout.stack_axes:
        return Stack(layout.stack_axes, layout.stack_shape, (layout.height, layout.width), _plane(planes, layout))
    return Image(planes[0], layout.kind)


def _plane(planes: Pixels, layout: Layout) -> Callable[[int], Image]:
    return lambda index: Image(planes[index], layout.kind)


def _read_header(data: bytes, name: str) -> tuple[tuple[int, ...], bool, np.dtype[np.generic], int]:
    """Shape, whether the order is Fortran's, type, and the offset of the values. Raises an `ImageError`."""
    stream = io.BytesIO(data)
    version = np.lib.format.read_magic(stream)
    header_size = int.from_bytes(data[8:10] if version == (1, 0) else data[8:12], "little")
    if header_size > _MAX_HEADER:
        raise TruncatedImage(f"{name}: damaged: a NumPy header of {header_size:,} bytes, over {_MAX_HEADER:,}")
    read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, is_fortran, dtype = read_header(stream)
    if dtype.kind not in "buif":
        raise NotAnImage(f"{name}: a NumPy array of {dtype}, not of numbers: convert it, such as with array.astype")
    if not 2 <= len(shape) <= _MAX_DIMENSIONS:
        raise NotAnImage(f"{name}: a NumPy array of shape {shape} is no image: (H, W) or (H, W, 3) is")
    if min(shape) < 0:
        raise TruncatedImage(f"{name}: damaged: a NumPy array of shape {shape}")
    if 0 in shape:
        raise EmptyImage(f"{name}: shape {shape} has 0 pixels")
    return shape, is_fortran, dtype, stream.tell()
