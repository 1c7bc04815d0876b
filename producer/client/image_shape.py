"""Reads an image's shape from its header. The ledger chooses a job's lane by it."""

from __future__ import annotations

import io

#: Bytes of a file that are parsed. A longer header counts as too expensive to read.
_HEAD, _NPY_HEAD = 65_536, 1024


def shape_of(image: bytes) -> str | None:
    """`HxW` from the header; None if it is unreadable or expensive to read. The worker checks the image anyway."""
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
