"""NumPy arrays, nothing pickled."""

from __future__ import annotations

import io
import math

import numpy as np

from ..arrays import Pixels
from ..errors import NotAnImage, TruncatedImage
from .checks import ImageLimits, check_channels, check_present, check_size

MAGIC = b"\x93NUMPY"
#: Bytes of the header, which is parsed as Python: numpy writes 118, and a deep nest is a trap for the parser.
#: Messages that quote it stay short, too.
_MOST_HEADER = 512


def read(data: bytes, name: str, limits: ImageLimits) -> Pixels:
    """The array, of two or three dimensions. Raises an `ImageError`, or anything on damaged bytes."""
    stream = io.BytesIO(data)
    version = np.lib.format.read_magic(stream)
    claimed = int.from_bytes(data[8:10] if version == (1, 0) else data[8:12], "little")
    if claimed > _MOST_HEADER:
        raise TruncatedImage(f"{name}: damaged: a NumPy header of {claimed:,} bytes, over {_MOST_HEADER:,}")
    header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = header(stream)
    if dtype.kind not in "buif" or len(shape) not in (2, 3):
        raise NotAnImage(f"{name}: a NumPy array of {dtype} and shape {shape}, not (H, W) or (H, W, C) of numbers")
    if min(shape) < 0:
        raise TruncatedImage(f"{name}: damaged: a NumPy array of shape {shape}")
    check_size(shape[0], shape[1], name, limits)
    check_channels(shape[2] if len(shape) == 3 else 1, name)
    check_present(len(data) - stream.tell(), math.prod(shape) * dtype.itemsize, name)
    stream.seek(0)
    return np.asarray(np.lib.format.read_array(stream, allow_pickle=False))
