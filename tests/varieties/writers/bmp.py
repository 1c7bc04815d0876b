"""BMP: depths, palettes, bit fields, run lengths, rows from the top."""

import struct
from collections.abc import Iterator

import cv2
import imagecodecs
import numpy as np

from .. import pictures
from ..pictures import HEIGHT, WIDTH, Array, picture
from .arrays import bgr, gdal, pillow, saved, simpleitk, squeezed
from .sample import BY_HAND, GDAL, Kept, Samples, by

_PLAIN, _RLE8, _RLE4, _BIT_FIELDS = 0, 1, 2, 3


def bmp() -> Samples:
    """By Pillow, OpenCV, GDAL, SimpleITK and imagecodecs."""
    add = Kept(by("pillow"), "BMP", "pillow", ".bmp")
    yield add("bilevel", saved(pillow("bilevel"), "BMP"), "1 bit", "bilevel", compare="scaled")
    yield add("grey8", saved(pillow("grey8"), "BMP"), "8 bits, grey", "grey8")
    yield add("palette", saved(pillow("colours16"), "BMP"), "8 bits, palette", "colours16")
    yield add("rgb8", saved(pillow("rgb8"), "BMP"), "24 bits", "rgb8")
    # Pillow writes alpha, but a header that knows none.
    yield add("rgba8", saved(pillow("rgba8"), "BMP"), "32 bits", "rgb8")
    add = Kept(by("opencv-python-headless"), "BMP", "opencv", ".bmp")
    yield add("rgb8", cv2.imencode(".bmp", bgr("rgb8"))[1].tobytes(), "24 bits", "rgb8")
    yield add("rgba8", cv2.imencode(".bmp", bgr("rgba8"))[1].tobytes(), "32 bits, bit fields", "rgba8")
    yield Kept(GDAL, "BMP", "gdal", ".bmp")("rgb8", gdal(".bmp", "BMP", picture("rgb8")), "24 bits", "rgb8")
    add = Kept(by("SimpleITK"), "BMP", "simpleitk", ".bmp")
    yield add("rgb8", simpleitk(".bmp", picture("rgb8"), colours=True), "24 bits", "rgb8")
    add = Kept(by("imagecodecs"), "BMP", "imagecodecs", ".bmp")
    yield add("grey8", imagecodecs.bmp_encode(squeezed("grey8")), "8 bits, grey", "grey8")


def colours_by_hand() -> Samples:
    """16, 24 and 32 bits."""
    add = Kept(BY_HAND, "BMP", "hand", ".bmp")
    rgb = picture("rgb8")
    red, green, blue = (rgb[..., channel].astype(np.uint32) for channel in range(3))
    data = _bmp(rgb[..., ::-1].tobytes(), 24, height=-HEIGHT)
    yield add("top-down", data, "24 bits, rows from the top", "rgb8")
    header = struct.pack("<2sIHHIIHHHH", b"BM", 26 + 3 * WIDTH * HEIGHT, 0, 0, 26, 12, WIDTH, HEIGHT, 1, 24)
    yield add("os2", header + _rows(rgb[..., ::-1].reshape(HEIGHT, -1)), "24 bits, OS/2 header", "rgb8")
    packed = (red >> 3 << 10 | green >> 3 << 5 | blue >> 3).astype(np.uint16)
    yield add("rgb555", _bmp(_rows(packed), 16), "16 bits", "rgb8", compare="lossy 5")
    packed = (red >> 3 << 11 | green >> 2 << 5 | blue >> 3).astype(np.uint16)
    data = _bmp(_rows(packed), 16, _BIT_FIELDS, struct.pack("<3I", 0xF800, 0x7E0, 0x1F))
    yield add("rgb565", data, "16 bits, bit fields", "rgb8", compare="lossy 5")
    yield add("rgb32", _bmp(_rows(red << 16 | green << 8 | blue), 32), "32 bits", "rgb8")
    data = _bmp(_rows(blue << 16 | green << 8 | red), 32, _BIT_FIELDS, struct.pack("<3I", 0xFF, 0xFF00, 0xFF0000))
    yield add("rgbx-fields", data, "32 bits, bit fields", "rgb8")
    masks = struct.pack("<3I", 0x3FF00000, 0xFFC00, 0x3FF)
    data = _bmp(_rows(red << 22 | green << 12 | blue << 2), 32, _BIT_FIELDS, masks)
    yield add("10-bit-fields", data, "32 bits, bit fields of 10", "rgb10", compare="scaled")


def palettes_by_hand() -> Samples:
    """4 bits, and run lengths."""
    add = Kept(BY_HAND, "BMP", "hand", ".bmp")
    index = pictures.INDEX4
    colours = b"".join(bytes((*map(int, colour[::-1]), 0)) for colour in pictures.COLOURS)
    packed = (index[:, ::2] << 4 | index[:, 1::2]).astype(np.uint8)
    yield add("palette4", _bmp(_rows(packed), 4, _PLAIN, colours), "4 bits, palette", "colours16")
    for bits, method, two_in_a_byte in ((8, _RLE8, False), (4, _RLE4, True)):
        rows = ((bytes((n, v << 4 | v if two_in_a_byte else v)) for n, v in _runs(row)) for row in index[::-1])
        body = b"".join(b"".join(row) + b"\0\0" for row in rows) + b"\0\1"
        yield add(f"rle{bits}", _bmp(body, bits, method, colours), f"{bits} bits, run lengths", "colours16")


def _rows(pixels: Array) -> bytes:
    """Rows from the bottom, each of whole groups of four bytes."""
    return b"".join(row.tobytes() + bytes(-len(row.tobytes()) % 4) for row in pixels[::-1])


def _runs(row: Array) -> Iterator[tuple[int, int]]:
    start = 0
    for end in [*(np.flatnonzero(np.diff(row)) + 1).tolist(), len(row)]:
        yield end - start, int(row[start])
        start = end


def _bmp(body: bytes, bits: int, method: int = _PLAIN, colours: bytes = b"", *, height: int = HEIGHT) -> bytes:
    """A file with a header of 40 bytes; `colours` are a palette or masks."""
    offset = 54 + len(colours)
    used = len(colours) // 4 if bits <= 8 else 0
    return (
        struct.pack("<2sIHHI", b"BM", offset + len(body), 0, 0, offset)
        + struct.pack("<IiiHHIIiiII", 40, WIDTH, height, 1, bits, method, len(body), 0, 0, used, 0)
        + colours
        + body
    )
