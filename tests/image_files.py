"""Image files of every format, valid ones by libraries and others by hand."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image

Array = NDArray[Any]

PNG_START = b"\x89PNG\r\n\x1a\n"
#: `struct`'s letter of each kind of TIFF value.
_TIFF_KINDS = {1: "B", 2: "B", 3: "H", 4: "I", 5: "I", 7: "B", 12: "d", 16: "Q"}


def saved(image: Array | Image.Image, kind: str, **options: Any) -> bytes:
    """The image as Pillow writes it in the format `kind`."""
    stream = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(stream, kind, **options)
    return stream.getvalue()


def orientation_exif(orientation: int) -> Image.Exif:
    """Exif metadata with nothing but an orientation."""
    exif = Image.Exif()
    exif[0x112] = orientation
    return exif


def tiff(pixels: Array, **options: Any) -> bytes:
    """The image as tifffile writes it."""
    photometric = "rgb" if pixels.ndim == 3 and pixels.shape[2] == 3 else "minisblack"
    stream = io.BytesIO()
    tifffile.imwrite(stream, pixels, **{"photometric": photometric} | options)
    return stream.getvalue()


def tiff_with(data: bytes, **tags: int) -> bytes:
    """The TIFF file with other values of some integer tags of its first page."""
    changed = bytearray(data)
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        for name, value in tags.items():
            tag = file.pages.first.tags[name]
            kind = {3: "H", 4: "I"}[tag.dtype]
            struct.pack_into(file.byteorder + kind, changed, tag.valueoffset, value)
    return bytes(changed)


def raw_tiff(
    tags: Mapping[int, tuple[int, Sequence[float] | bytes] | None] = {}, body: bytes = bytes(64), *, big: bool = False
) -> bytes:
    """A TIFF by hand: grey, 8×8, 8 bits deep and one strip, `body`, at byte 16.

    `tags` changes tags: number → kind and values, or None to leave the tag out.
    """
    plain: dict[int, tuple[int, Sequence[float] | bytes] | None] = {
        number: (4, [value])
        for number, value in (
            (256, 8), (257, 8), (258, 8), (259, 1), (262, 1), (273, 16), (277, 1), (278, 8), (279, len(body)),
        )
    }  # fmt: skip
    wanted = [(number, *value) for number, value in sorted((plain | dict(tags)).items()) if value is not None]
    word, count_kind, entry = ("Q", "Q", "<HHQ") if big else ("I", "H", "<HHI")
    size = struct.calcsize("<" + word)
    start = 16 + len(body)
    after = start + struct.calcsize("<" + count_kind) + len(wanted) * (struct.calcsize(entry) + size) + size
    entries, values_at_end = b"", b""
    for number, kind, values in wanted:
        raw = values if isinstance(values, bytes) else struct.pack(f"<{len(values)}{_TIFF_KINDS[kind]}", *values)
        count = len(raw) // (8 if kind == 5 else struct.calcsize(_TIFF_KINDS[kind]))
        place = struct.pack("<" + word, after + len(values_at_end)) if len(raw) > size else raw.ljust(size, b"\0")
        values_at_end += raw if len(raw) > size else b""
        entries += struct.pack(entry, number, kind, count) + place
    header = struct.pack("<2sHHHQ", b"II", 43, 8, 0, start) if big else struct.pack("<2sHIQ", b"II", 42, start, 0)
    directory = struct.pack("<" + count_kind, len(wanted)) + entries + bytes(size)
    return header + body + directory + values_at_end


def npy(pixels: Array, version: tuple[int, int] | None = None, *, pickled: bool = False) -> bytes:
    """The array as a .npy file; `pickled` allows objects."""
    stream = io.BytesIO()
    np.lib.format.write_array(stream, pixels, version, allow_pickle=pickled)
    return stream.getvalue()


def npy_text(header: str, body: bytes = b"") -> bytes:
    """A .npy file with this header."""
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode("latin1") + body


def npy_header(shape: str, kind: str = "|u1", body: bytes = b"") -> bytes:
    """A .npy file whose header says this shape."""
    return npy_text(f"{{'descr': {kind!r}, 'fortran_order': False, 'shape': {shape}, }}\n", body)


def chunk(kind: bytes, body: bytes) -> bytes:
    """A chunk of a PNG."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(
    width: int,
    height: int,
    rows: bytes,
    depth: int = 16,
    colour: int = 2,
    interlaced: int = 0,
    *,
    before: bytes = b"",
    after: bytes = b"",
) -> bytes:
    """A PNG file by hand, with other chunks before and after the pixels."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlaced))
    return PNG_START + header + before + chunk(b"IDAT", zlib.compress(rows)) + after + chunk(b"IEND", b"")


def segment(marker: int, body: bytes) -> bytes:
    """A segment of a JPEG."""
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def jpeg_scans(side: int, scans: int) -> bytes:
    """A progressive JPEG, grey and square, of `scans` scans and one, none of which changes a pixel."""
    data = saved(Image.new("L", (side, side)), "JPEG", progressive=True)
    blocks = (-(-side // 8)) ** 2
    one_code = segment(0xC4, b"\x00\x01" + bytes(15) + b"\x00")  # bit 0: no difference
    end_of_bands = segment(0xC4, b"\x10\x00\x02" + bytes(14) + b"\xe0\x00")  # bits 00 and 14 more: so many blocks
    first = segment(0xDA, b"\x01\x01\x00\x00\x00\x00") + bytes(-(-blocks // 8))
    again = segment(0xDA, b"\x01\x01\x00\x01\x3f\x00") + b"\x3f\x7f" * -(-blocks // 32_767)
    return data[: data.index(b"\xff\xda")] + one_code + first + end_of_bands + again * scans + b"\xff\xd9"


def jpeg_claiming(data: bytes, width: int, height: int) -> bytes:
    """The baseline JPEG with this size in its header."""
    changed = bytearray(data)
    struct.pack_into(">HH", changed, data.index(b"\xff\xc0") + 5, height, width)
    return bytes(changed)
