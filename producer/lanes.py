"""Lanes: images of a common shape go one way, all others another.

A GPU that searches for the fastest convolution per shape (cudnn benchmark `on`) wants the lane of common shapes. What
is common is decided where the job is entered, in `ledger.lua`: at least half of the last 64 images had the shape.
"""

from __future__ import annotations

import io

FIXED, VARIED = "fixed", "varied"
LANES = (FIXED, VARIED)
#: Bytes of a file that are looked at: in what is longer, the shape is not told cheaply.
_HEAD, _NPY_HEAD = 65_536, 1024


def shape_of(image: bytes) -> str | None:
    """`HxW` as the header says; None where it can't be told cheaply (the worker looks properly)."""
    if image.startswith(b"\x93NUMPY"):
        return _npy_shape(image)
    from PIL import Image

    # Pillow keeps every segment and chunk of a header and looks at each byte between them: 16 hostile megabytes of it
    # would take half a minute here, before anything has been checked.
    head = image[:_HEAD] if image.startswith((b"\x89PNG", b"\xff\xd8\xff")) else image
    try:
        with Image.open(io.BytesIO(head), formats=("PNG", "JPEG", "TIFF", "BMP", "WEBP")) as header:
            return f"{header.height}x{header.width}"
    except Exception:  # a stranger's bytes: decoders raise nearly anything
        return None


def _npy_shape(image: bytes) -> str | None:
    from numpy.lib import format as npy

    stream = io.BytesIO(image[:_NPY_HEAD])
    try:
        read = npy.read_array_header_1_0 if npy.read_magic(stream) == (1, 0) else npy.read_array_header_2_0
        shape, _, _ = read(stream)
    except Exception:
        return None
    return "x".join(map(str, shape[:2])) if len(shape) >= 2 else None
