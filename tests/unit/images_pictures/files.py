"""Picture files that no common library writes, made by hand."""

import struct
from collections.abc import Sequence

import numpy as np

from tests.image_files import Array, chunk, segment

#: Bits of a channel's mask: its number of bits and its lowest bit.
Mask = int


def packed_rows(indices: Array, depth: int) -> bytes:
    """(H, W) numbers of 1, 2, 4 or 8 bits → the rows of a bitmap, bottom row first, each padded to four bytes."""
    bits = np.unpackbits(indices.astype(np.uint8)[..., None], axis=2)[..., 8 - depth :]
    return padded_rows(np.packbits(bits.reshape(len(indices), -1), axis=1))


def padded_rows(rows: Array) -> bytes:
    """(H, bytes) rows, top row first → the rows of a bitmap."""
    padding = -rows.shape[1] % 4
    return np.pad(rows, ((0, 0), (0, padding)))[::-1].astype(np.uint8).tobytes()


def bmp(
    width: int,
    height: int,
    depth: int,
    pixels: bytes,
    *,
    compression: int = 0,
    size: int = 40,
    masks: Sequence[Mask] = (),
    palette: bytes = b"",
    colours: int = 0,
    gap: int = 0,
) -> bytes:
    """A bitmap with a header of `size` bytes: 12 is OS/2's first, 16 to 64 its second, 40 to 124 those of Windows."""
    if size == 12:
        header = struct.pack("<IHHHH", size, width, height, 1, depth)
    else:
        fields = struct.pack("<IiiHHIIiiII", size, width, height, 1, depth, compression, len(pixels), 0, 0, colours, 0)
        inside = struct.pack(f"<{len(masks)}I", *masks)
        header = (fields + inside).ljust(size, b"\0") if size != 40 else fields + inside
        header = header[:size] if size < 40 else header
    start = 14 + len(header) + len(palette) + gap
    return struct.pack("<2sIHHI", b"BM", start + len(pixels), 0, 0, start) + header + palette + bytes(gap) + pixels


def palette_bytes(colours: Array, step: int = 4) -> bytes:
    """(N, 3) RGB → the palette of a bitmap: blue, green, red and, in steps of four, a zero."""
    return np.pad(colours[:, ::-1], ((0, 0), (0, step - 3))).astype(np.uint8).tobytes()


def box(kind: bytes, body: bytes) -> bytes:
    """Of a JPEG 2000 or JPEG XL file."""
    return struct.pack(">I", 8 + len(body)) + kind + body


def jp2(codestream: bytes, *headers: bytes) -> bytes:
    """A JPEG 2000 file with these boxes in its header."""
    kind = box(b"ftyp", b"jp2 \0\0\0\0jp2 ")
    return box(b"jP  ", b"\r\n\x87\n") + kind + box(b"jp2h", b"".join(headers)) + box(b"jp2c", codestream)


def with_frame(data: bytes, marker: int, depth: int = 8) -> bytes:
    """The baseline JPEG with another kind of frame in its header."""
    changed = bytearray(data)
    start = data.index(b"\xff\xc0")
    changed[start + 1], changed[start + 4] = marker, depth
    return bytes(changed)


def after_header(png: bytes, kind: bytes, body: bytes) -> bytes:
    """The PNG with another chunk after its header."""
    return png[:33] + chunk(kind, body) + png[33:]


def with_segment(jpeg: bytes, marker: int, body: bytes) -> bytes:
    """The JPEG with another segment after its first marker."""
    return jpeg[:2] + segment(marker, body) + jpeg[2:]
