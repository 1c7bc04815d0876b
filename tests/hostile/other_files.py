"""Bitmaps with wrong headers, files of other formats, and files of two formats at once."""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
import zlib

import numpy as np

from tests.image_files import npy, png, raw_tiff, saved

from .case import CUT, LARGE, NOT, PIXELS, Cases, case
from .valid import COLOUR, GREY, SMOOTH, valid


def cases() -> Cases:
    """The files, by name."""
    kinds = {"bmp": _bitmaps(), "other": _other_formats(), "two-formats": _two_formats()}
    return {f"{kind}/{name}": made for kind, found in kinds.items() for name, made in found.items()}


def _bitmap(width: int, height: int, bits: int, compression: int, body: bytes, colours: int = 0) -> bytes:
    header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, bits, compression, len(body), 0, 0, colours, 0)
    palette = bytes(4 * 2**bits) if bits in (1, 4, 8) else b""
    start = 14 + len(header) + len(palette)
    return struct.pack("<2sIII", b"BM", start + len(body), 0, start) + header + palette + body


def _bitmaps() -> Cases:
    """Bitmaps with wrong headers.

    imagecodecs 2026.3.6 crashes if a header claims many more pixels than the file has. Here some bytes are missing.
    """
    plain = saved(COLOUR, "BMP")
    skips = b"\0\2\xff\xff" * 100
    return {
        "over-the-limit": case(LARGE, _bitmap(700, 700, 1, 0, bytes(88 * 700))),
        "last-row-missing": case(CUT, _bitmap(16, 16, 24, 0, bytes(48 * 15))),
        "upside-down": case(PIXELS, _bitmap(8, -8, 24, 0, bytes(192))),
        "over-the-limit-upside-down": case(LARGE, _bitmap(1, -400_000, 1, 0, bytes(4 * 400_000))),
        "width-negative": case("", _bitmap(-8, 8, 24, 0, bytes(192))),
        "no-columns": case("", _bitmap(0, 8, 24, 0, b"")),
        "bits-0": case("", _bitmap(8, 8, 0, 0, bytes(192))),
        "bits-64": case("", _bitmap(8, 8, 64, 0, bytes(512))),
        "bits-16": case(PIXELS, _bitmap(8, 8, 16, 0, bytes(128))),
        "compression-unknown": case("", _bitmap(8, 8, 24, 77, bytes(192))),
        "jpeg-inside": case("", _bitmap(48, 80, 24, 4, saved(SMOOTH, "JPEG"))),
        "skips-of-255-rows": case("", _bitmap(100_000, 1, 8, 1, skips)),
        "skips-of-255-rows-4-bit": case("", _bitmap(100_000, 1, 4, 2, skips)),
        "runs-beyond-the-row": case("", _bitmap(8, 8, 8, 1, b"\xff\x01" * 1_000)),
        "runs-of-nothing": case("", _bitmap(8, 8, 8, 1, b"\0\0" * 1_000)),
        "ends-at-once": case("", _bitmap(8, 8, 8, 1, b"\0\1")),
        "more-colours-than-the-palette": case("", _bitmap(8, 8, 8, 0, bytes(64), 1_000)),
        "header-size-unknown": case("", plain[:14] + b"\xff\x03\0\0" + plain[18:]),
        "pixels-begin-late": case("", plain[:10] + struct.pack("<I", 99) + plain[14:]),
        "pixels-within-the-header": case("", plain[:10] + bytes(4) + plain[14:]),
    }


def _zip(name: str, data: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr(name, data)
    return stream.getvalue()


def _other_formats() -> Cases:
    """Files that are no images, images of formats that maskq does not read, and of formats that are rare."""
    starts = {"png": "png", "jpeg": "jpeg", "tiff": "tiff", "bigtiff": "bigtiff", "webp": "webp", "bmp": "bmp"}
    found = {
        "nothing": b"",
        "one-byte": b"\x89",
        "zeros": bytes(1_000_000),
        "ones": b"\xff" * 1_000_000,
        "text": b"Dear Sir or Madam,\n" * 50,
        "web-page": b"<!doctype html><title>A page</title><script>let page = 1</script>",
        "drawing": b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"><rect width="9" height="9"/></svg>',
        "gif": saved(GREY, "GIF"),
        "gif-animated": valid()["gif-animated"],
        "icon": saved(np.zeros((16, 16, 4), np.uint8), "ICO"),
        "portable-bitmap": b"P4 8 5\n" + bytes(5),
        "postscript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n",
        "pdf": saved(COLOUR, "PDF"),
        "photoshop": b"8BPS\0\1" + bytes(6) + struct.pack(">HIIHH", 3, 30, 30, 8, 3),
        "zip": _zip("image.png", saved(COLOUR, "PNG")),
        "npz": _zip("array.npy", npy(GREY)),
        "gzip": zlib.compress(saved(COLOUR, "PNG"), wbits=31),
        "program": b"\x7fELF" + bytes(1_000),
        "pickle": pickle.dumps([1, 2]),
    }
    cut = {f"first-bytes-of-{name}": case(f"{CUT} {NOT}", valid()[key][:8]) for name, key in starts.items()}
    read = {"jpeg-2000": saved(COLOUR, "JPEG2000"), "portable-pixmap": b"P6 7 5 255\n" + bytes(105)}
    return {
        **{name: case(NOT, data) for name, data in found.items()},
        **{name: case(PIXELS, data) for name, data in read.items()},
        **cut,
    }


def _two_formats() -> Cases:
    """Files of one format that begin as, end as or contain another."""
    picture, photograph = saved(COLOUR, "PNG"), saved(SMOOTH, "JPEG")
    return {
        "png-then-zip": case(PIXELS, picture + _zip("a", b"b")),
        "png-then-jpeg": case(PIXELS, picture + photograph),
        "jpeg-then-php": case(PIXELS, photograph + b"<?php echo 1; ?>"),
        "jpeg-then-png": case(PIXELS, photograph + picture),
        "zip-then-png": case(NOT, _zip("a", b"b") + picture),
        "pdf-then-jpeg": case(NOT, b"%PDF-1.4\n" + photograph),
        "gif-and-script": case(NOT, b"GIF89a/*" + bytes(20) + b"*/=1;"),
        "png-with-the-start-of-a-tiff": case(CUT, b"II*\0" + picture[4:]),
        "tiff-with-png-behind": case(PIXELS, raw_tiff(body=bytes(64) + picture)),
        "png-with-the-start-of-a-jpeg": case(CUT, b"\xff\xd8\xff\xe0" + picture[4:]),
        "png-with-the-start-of-an-array": case(CUT, b"\x93NUMPY\x01\0" + picture),
        "webp-called-sound": case(NOT, valid()["webp"].replace(b"WEBP", b"WAVE", 1)),
        "two-pngs": case(PIXELS, png(8, 8, bytes(200), 8) + picture),
        "text-like-a-bitmap": case(f"{NOT} {CUT}", b"BM" + b"W sells cars, not bitmaps. " * 40),
    }
