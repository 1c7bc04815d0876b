"""Lanes: images of a common shape go one way, all others another.

A GPU that searches for the fastest convolution per shape (cudnn benchmark `on`) wants the lane of common shapes.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, cast

from .ledger import PREFIX

if TYPE_CHECKING:
    from redis import Redis

FIXED, VARIED = "fixed", "varied"
LANES = (FIXED, VARIED)
#: A shape is common when it was this many of the last `_WINDOW` images.
_COMMON, _WINDOW = 32, 64
_RECENT = f"{PREFIX}shapes"


def lane_of(redis: Redis, image: bytes) -> str:
    """`fixed` where at least half of the last images had this one's shape, else `varied`."""
    shape = _shape(image)
    if shape is None:
        return VARIED
    pipe = redis.pipeline(transaction=True)
    pipe.lpush(_RECENT, shape)
    pipe.ltrim(_RECENT, 0, _WINDOW - 1)
    pipe.lrange(_RECENT, 0, -1)
    recent = cast("list[bytes]", pipe.execute()[-1])
    return FIXED if recent.count(shape.encode()) >= _COMMON else VARIED


def _shape(image: bytes) -> str | None:
    """`HxW` as the header says; None where it can't be told cheaply (the worker looks properly)."""
    if image.startswith(b"\x93NUMPY"):
        return _npy_shape(image)
    from PIL import Image

    try:
        with Image.open(io.BytesIO(image), formats=("PNG", "JPEG", "TIFF", "BMP", "WEBP")) as header:
            return f"{header.height}x{header.width}"
    except Exception:  # a stranger's bytes: decoders raise nearly anything
        return None


def _npy_shape(image: bytes) -> str | None:
    from numpy.lib import format as npy

    stream = io.BytesIO(image)
    try:
        read = npy.read_array_header_1_0 if npy.read_magic(stream) == (1, 0) else npy.read_array_header_2_0
        shape, _, _ = read(stream)
    except Exception:
        return None
    return "x".join(map(str, shape[:2])) if len(shape) >= 2 else None
