"""Bitmaps that lie, files of other kinds, and files of two kinds at once."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib

import numpy as np

from tests.image_files import npy, png, raw_tiff, saved

from .trap import CUT, LARGE, NOT, PIXELS, Traps, trap
from .valid import COLOUR, GREY, SMOOTH, valid


def traps() -> Traps:
    kinds = {"bmp": _bitmaps(), "stray": _strays(), "two-kinds": _polyglots()}
    return {f"{kind}/{name}": made for kind, found in kinds.items() for name, made in found.items()}


def _bitmap(width: int, height: int, bits: int, compression: int, body: bytes, colours: int = 0) -> bytes:
    header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, bits, compression, len(body), 0, 0, colours, 0)
    palette = bytes(4 * 256) if bits == 8 else bytes(4 * 16) if bits == 4 else b""
    start = 14 + len(header) + len(palette)
    return struct.pack("<2sIII", b"BM", start + len(body), 0, start) + header + palette + body


def _bitmaps() -> Traps:
    plain = saved(COLOUR, "BMP")
    skips = b"\0\2\xff\xff" * 100
    return {
        "huge": trap(LARGE, _bitmap(100_000, 100_000, 24, 0, b"")),
        "500-by-500-and-not-there": trap(CUT, _bitmap(500, 500, 24, 0, bytes(99))),
        "upside-down": trap(PIXELS, _bitmap(8, -8, 24, 0, bytes(192))),
        "2-billion-rows-up": trap(LARGE, _bitmap(1, -(2**31), 24, 0, b"")),
        "width-negative": trap("", _bitmap(-8, 8, 24, 0, bytes(192))),
        "no-columns": trap("", _bitmap(0, 8, 24, 0, b"")),
        "bits-0": trap("", _bitmap(8, 8, 0, 0, bytes(192))),
        "bits-64": trap("", _bitmap(8, 8, 64, 0, bytes(512))),
        "bits-16": trap(PIXELS, _bitmap(8, 8, 16, 0, bytes(128))),
        "compression-unknown": trap("", _bitmap(8, 8, 24, 77, bytes(192))),
        "jpeg-inside": trap("", _bitmap(48, 80, 24, 4, saved(SMOOTH, "JPEG"))),
        "skips-of-255-rows": trap("", _bitmap(100_000, 1, 8, 1, skips)),
        "skips-of-255-rows-4-bit": trap("", _bitmap(100_000, 1, 4, 2, skips)),
        "runs-beyond-the-row": trap("", _bitmap(8, 8, 8, 1, b"\xff\x01" * 10_000)),
        "runs-of-nothing": trap("", _bitmap(8, 8, 8, 1, b"\0\0" * 10_000)),
        "ends-at-once": trap("", _bitmap(8, 8, 8, 1, b"\0\1")),
        "4-billion-colours": trap("", _bitmap(8, 8, 8, 0, bytes(64), 2**32 - 1)),
        "header-of-4-gigabytes": trap("", plain[:14] + b"\xff\xff\xff\xff" + plain[18:]),
        "pixels-beyond-the-file": trap("", plain[:10] + b"\xff\xff\xff\x7f" + plain[14:]),
        "pixels-within-the-header": trap("", plain[:10] + bytes(4) + plain[14:]),
    }


def _zip(name: str, data: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr(name, data)
    return stream.getvalue()


def _strays() -> Traps:
    laughs = b'<?xml version="1.0"?><!DOCTYPE svg [<!ENTITY a "' + b"ha" * 999 + b'">]><svg>&a;</svg>'
    starts = {"png": "png", "jpeg": "jpeg", "tiff": "tiff", "bigtiff": "bigtiff", "webp": "webp", "bmp": "bmp"}
    found = {
        "nothing": b"",
        "one-byte": b"\x89",
        "zeros": bytes(1_000_000),
        "ones": b"\xff" * 1_000_000,
        "text": b"Dear Sir or Madam,\n" * 50,
        "page": b"<!doctype html><script>alert(1)</script>",
        "drawing": laughs,
        "gif": saved(GREY, "GIF"),
        "gif-animated": valid()["gif-animated"],
        "jpeg-2000": saved(COLOUR, "JPEG2000"),
        "icon": saved(np.zeros((16, 16, 4), np.uint8), "ICO"),
        "portable-pixmap-of-10-gigapixels": b"P6 100000 100000 255\n",
        "postscript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 99999 99999\nshowpage\n",
        "pdf": saved(COLOUR, "PDF"),
        "photoshop": b"8BPS\0\1" + bytes(6) + struct.pack(">HIIHH", 3, 30_000, 30_000, 8, 3),
        "zip-bomb": _zip("image.png", bytes(10_000_000)),
        "npz": _zip("array.npy", npy(GREY)),
        "gzip": zlib.compress(saved(COLOUR, "PNG"), wbits=31),
        "program": b"\x7fELF" + bytes(1_000),
        "pickle": b"\x80\x04cos\n_exit\n(I99\ntR.",
    }
    cut = {f"first-bytes-of-{name}": trap(f"{CUT} {NOT}", valid()[key][:8]) for name, key in starts.items()}
    return {name: trap(NOT, data) for name, data in found.items()} | cut


def _polyglots() -> Traps:
    picture, photograph = saved(COLOUR, "PNG"), saved(SMOOTH, "JPEG")
    return {
        "png-then-zip": trap(PIXELS, picture + _zip("a", b"b")),
        "png-then-jpeg": trap(PIXELS, picture + photograph),
        "jpeg-then-php": trap(PIXELS, photograph + b"<?php system('id'); ?>"),
        "jpeg-then-png": trap(PIXELS, photograph + picture),
        "zip-then-png": trap(NOT, _zip("a", b"b") + picture),
        "pdf-then-jpeg": trap(NOT, b"%PDF-1.4\n" + photograph),
        "gif-and-script": trap(NOT, b"GIF89a/*" + bytes(20) + b"*/=1;alert(1)"),
        "tiff-that-says-png": trap(CUT, b"II*\0" + picture[4:]),
        "tiff-with-png-behind": trap(PIXELS, raw_tiff(body=bytes(64) + picture)),
        "png-that-says-jpeg": trap(CUT, b"\xff\xd8\xff\xe0" + picture[4:]),
        "npy-of-a-png": trap(CUT, b"\x93NUMPY\x01\0" + picture),
        "webp-that-says-sound": trap(NOT, valid()["webp"].replace(b"WEBP", b"WAVE", 1)),
        "two-pngs-in-one": trap(PIXELS, png(8, 8, bytes(200), 8) + picture),
        "bitmap-of-text": trap(f"{NOT} {CUT}", b"BM" + b"W sells cars, not bitmaps. " * 40),
    }
