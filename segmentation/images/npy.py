"""Read NumPy arrays without unpickling."""

import io
import math

import numpy as np

from ..arrays import Pixels
from ..errors import NotAnImage, TruncatedImage
from .checks import ImageLimits, check_byte_count, check_channels, check_size

MAGIC = b"\x93NUMPY"
#: Bytes of the header. numpy writes 118 and parses the header as Python, so deep nesting can exhaust the parser. The
#: limit also keeps error messages that quote the header short.
_MAX_HEADER = 512


def read_npy(data: bytes, name: str, limits: ImageLimits) -> Pixels:
    """The array, of two or three dimensions. Raises an `ImageError`, or any exception on damaged bytes."""
    stream = io.BytesIO(data)
    version = np.lib.format.read_magic(stream)
    header_size = int.from_bytes(data[8:10] if version == (1, 0) else data[8:12], "little")
    if header_size > _MAX_HEADER:
        raise TruncatedImage(f"{name}: damaged: a NumPy header of {header_size:,} bytes, over {_MAX_HEADER:,}")
    read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read_header(stream)
    if dtype.kind not in "buif" or len(shape) not in (2, 3):
        raise NotAnImage(f"{name}: a NumPy array of {dtype} and shape {shape}, not (H, W) or (H, W, C) of numbers")
    if min(shape) < 0:
        raise TruncatedImage(f"{name}: damaged: a NumPy array of shape {shape}")
    check_size(shape[0], shape[1], name, limits)
    check_channels(shape[2] if len(shape) == 3 else 1, name)
    check_byte_count(len(data) - stream.tell(), math.prod(shape) * dtype.itemsize, name)
    stream.seek(0)
    return np.asarray(np.lib.format.read_array(stream, allow_pickle=False))
