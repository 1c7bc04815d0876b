"""TIFFs with wrong tags, with more data than pixels, or of kinds that few programs write."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from functools import partial
from typing import Any

import imagecodecs
import numpy as np
from PIL import Image

from tests.image_files import jpeg_claiming, jpeg_scans, raw_tiff, saved, tiff

from .case import AMBIGUOUS, CUT, EMPTY, LARGE, NAN, NOT, PAGES, PIXELS, Cases, case
from .valid import COLOUR, GREY, GREY16, SMOOTH

_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _COLOUR, _DESCRIPTION, _OFFSETS, _ROWS, _COUNTS = (
    256, 257, 258, 259, 262, 270, 273, 278, 279,
)  # fmt: skip
_NO_STRIPS = {_OFFSETS: None, _COUNTS: None, _ROWS: None}


def cases() -> Cases:
    """The TIFFs, by name."""
    found = _unusual() | _wrong_tags() | _long_strips() | _lists() | _offsets() | _jpegs() | _metadata()
    return {f"tiff/{name}": made for name, made in found.items()}


def _unusual() -> Cases:
    """Valid TIFFs of unusual kinds."""
    nan = np.where(GREY > 99, np.nan, 1).astype(np.float32)
    cmyk = Image.fromarray(SMOOTH).convert("CMYK")
    wide = np.arange(100_000, dtype=np.uint8)[None] % 251
    found = {
        "100000-by-1": case(PIXELS, lambda: tiff(wide.T.copy(), rowsperstrip=1000)),
        "1-by-100000": case(PIXELS, lambda: tiff(wide, compression="deflate")),
        "a-strip-for-each-of-20000-rows": case(PIXELS, lambda: tiff(wide[:, :20_000].T.copy(), rowsperstrip=1)),
        "16-channels": case(f"{PIXELS} {AMBIGUOUS}", lambda: tiff(np.dstack([GREY] * 16), planarconfig=1)),
        "17-channels": case(NOT, lambda: tiff(np.dstack([GREY] * 17), planarconfig=1)),
        "float16": case(PIXELS, lambda: tiff((GREY / 9).astype(np.float16))),
        "largest-doubles": case(PIXELS, lambda: tiff(np.full((5, 6), np.finfo(np.float64).max))),
        "nan": case(NAN, lambda: tiff(nan)),
        "nan-deflated": case(NAN, lambda: tiff(nan, compression="deflate", predictor=True)),
        "infinity-float16": case(NAN, lambda: tiff(np.full((5, 6), np.inf, np.float16))),
        "complex": case(NOT, lambda: tiff(GREY.astype("c8"))),
        "lab": case(NOT, lambda: saved(Image.fromarray(COLOUR).convert("LAB"), "TIFF")),
        "cmyk-lzw": case(PIXELS, lambda: saved(cmyk, "TIFF", compression="tiff_lzw")),
        "12-bit": case("", lambda: raw_tiff({_BITS: (3, [12])}, bytes(range(96)))),
        "24-bit": case("", lambda: raw_tiff({_BITS: (3, [24])}, bytes(192))),
        "jpeg-2000": case(PIXELS, lambda: tiff(COLOUR, compression="jpeg2000")),
        "jpeg-xl": case(PIXELS, lambda: tiff(COLOUR, compression="jpegxl")),
        "volume": case(PAGES, lambda: tiff(np.zeros((16, 16, 16), "u1"), volumetric=True, tile=(16, 16, 16))),
        "three-pages": case(PAGES, lambda: tiff(np.stack([GREY16] * 3))),
        "empty-directory": case(EMPTY, b"II*\0\x08\0\0\0" + bytes(6)),
    }
    turned = {f"orientation-{n}": case(PIXELS, raw_tiff({274: (3, [n])})) for n in (0, 1, 5, 8, 9, 65_535)}
    return found | turned


def _wrong_tags() -> Cases:
    """Tags that are missing, or whose values are wrong."""
    tags: dict[str, tuple[str, dict[int, Any]]] = {
        "no-width": (EMPTY, {_WIDTH: (4, [0])}),
        "width-missing": (EMPTY, {_WIDTH: None}),
        "over-the-limit": (LARGE, {_WIDTH: (4, [700]), _HEIGHT: (4, [700])}),
        "over-the-limit-high": (LARGE, {_HEIGHT: (4, [100_000])}),
        "wide-without-pixels": (CUT, {_WIDTH: (4, [30_000])}),
        "width-is-a-list": (CUT, {_WIDTH: (4, [8, 8])}),
        "width-is-a-double": (CUT, {_WIDTH: (12, [8.0])}),
        "no-channels": (EMPTY, {277: (3, [0])}),
        "100-channels": (NOT, {277: (3, [100])}),
        "0-bits": ("", {_BITS: (3, [0])}),
        "113-bits": (NOT, {_BITS: (3, [113])}),
        "65535-bits": (NOT, {_BITS: (3, [65_535])}),
        "bits-of-three-kinds": ("", {_BITS: (3, [8, 16, 1]), 277: (3, [3])}),
        "strip-before-the-file": (CUT, {_OFFSETS: (4, [0])}),
        "strip-beyond-the-file": (CUT, {_OFFSETS: (4, [100_000])}),
        "strip-longer-than-the-file": (CUT, {_COUNTS: (4, [100_000])}),
        "strip-of-nothing": (CUT, {_COUNTS: (4, [0])}),
        "strips-missing": (CUT, _NO_STRIPS),
        "strips-overlap": (CUT, {_ROWS: (4, [1]), _OFFSETS: (4, [16] * 8), _COUNTS: (4, [60] * 8)}),
        "no-rows-a-strip": ("", {_ROWS: (4, [0])}),
        "compression-unknown": (NOT, {_COMPRESSION: (3, [65_000])}),
        "colours-unknown": (NOT, {_COLOUR: (3, [32_803])}),
        "palette-missing": ("", {_COLOUR: (3, [3])}),
        "palette-too-short": ("", {_COLOUR: (3, [3]), 320: (3, [9] * 9)}),
        "predictor-unknown": ("", {317: (3, [99])}),
        "predictor-of-floats": ("", {317: (3, [3]), _COMPRESSION: (3, [8])}),
        "fill-order-9": ("", {266: (3, [9])}),
        "planes-9": ("", {284: (3, [9])}),
        "format-unknown": ("", {339: (3, [77])}),
        "tiles-of-nothing": (CUT, _NO_STRIPS | {322: (4, [0]), 323: (4, [0]), 324: (4, [16]), 325: (4, [64])}),
        "tile-of-32-megapixels": (LARGE, _NO_STRIPS | {
            322: (4, [2**13]), 323: (4, [2**12]), 324: (4, [16]), 325: (4, [9])
        }),
        "deep-tile": (CUT + " " + LARGE + " " + PAGES, _NO_STRIPS | {
            322: (4, [16]), 323: (4, [16]), 32998: (4, [2**17]), 324: (4, [16]), 325: (4, [64])
        }),
    }  # fmt: skip
    return {name: case(outcomes, raw_tiff(changed)) for name, (outcomes, changed) in tags.items()}


def _long_strips() -> Cases:
    """Strips and tiles with more data than the image has pixels."""
    rows = bytes(2**20)
    packed = {
        "deflate": (8, lambda: bytes(imagecodecs.zlib_encode(rows, 1))),
        "zstd": (50_000, lambda: bytes(imagecodecs.zstd_encode(rows, 1))),
        "lzma": (34_925, lambda: bytes(imagecodecs.lzma_encode(rows, 1))),
        "lzw": (5, lambda: bytes(imagecodecs.lzw_encode(rows))),
        "packbits": (32_773, lambda: b"\x81\x00" * 2**13),
        "fax": (4, lambda: b"\xff" * 1_000),
    }
    found = {f"{name}-of-a-megabyte": case("", partial(_compressed, *strip)) for name, strip in packed.items()}
    return found | {"5-tiles-of-16-megabytes": case(LARGE, lambda: _tiles(5))}


def _compressed(compression: int, make: Callable[[], bytes]) -> bytes:
    return raw_tiff({_COMPRESSION: (3, [compression])}, make())


def _tiles(count: int) -> bytes:
    """A TIFF that uses one column of each tile."""
    tile = bytes(imagecodecs.zstd_encode(bytes(2**24), 1))
    offsets = [16 + n * len(tile) for n in range(count)]
    tags = {
        _WIDTH: (4, [1]), _HEIGHT: (4, [16 * count]), _COMPRESSION: (3, [50_000]),
        322: (4, [2**20]), 323: (4, [16]), 324: (4, offsets), 325: (4, [len(tile)] * count),
    }  # fmt: skip
    return raw_tiff({**_NO_STRIPS, **tags}, tile * count)


def _lists() -> Cases:
    """Tags of a hundred values that have one or three in images, and directories of more tags than the limit.

    tifffile 2026.3.3 makes a Python number of each value, so millions of values take it gigabytes and minutes.
    """
    integers = (_BITS, _OFFSETS, _COUNTS, 277, 320, 330, 338, 339, 530, 33628, 34665, 65_000)
    found = {f"100-values-in-tag-{tag}": case("", raw_tiff({tag: (4, [1] * 100)})) for tag in integers}
    one, many = struct.pack("<HHQ", _BITS, 4, 1), struct.pack("<HHQ", _BITS, 4, 100_000)
    return found | {
        "100-fractions": case(PIXELS, raw_tiff({282: (5, [1] * 100)})),
        "4097-tags": case(CUT, b"II*\0\x08\0\0\0" + struct.pack("<H", 4_097) + bytes(12 * 4_097 + 4)),
        "5000-tags-that-are-missing": case(CUT, struct.pack("<2sHHHQQ", b"II", 43, 8, 0, 16, 5_000) + bytes(64)),
        "big-100000-values-that-are-missing": case(CUT, raw_tiff(big=True).replace(one, many)),
    }


def _offsets() -> Cases:
    """Directories at places where none is."""
    plain = raw_tiff()
    return {
        "subdirectory-is-the-header": case(PIXELS, raw_tiff({330: (4, [0])})),
        "exif-is-beyond-the-file": case(PIXELS, raw_tiff({34665: (4, [100_000])})),
        "directory-is-the-header": case("", b"II*\0\x00\0\0\0" + plain[8:]),
        "directory-is-beyond-the-file": case(CUT, b"II*\0" + struct.pack("<I", 100_000) + plain[8:]),
    }


def _jpegs() -> Cases:
    """JPEGs in strips, of a size that the tags do not say, or with more scans than the limit."""
    small = saved(SMOOTH[:16, :16].copy(), "JPEG")
    tags: dict[int, Any] = {
        _WIDTH: (4, [16]), _HEIGHT: (4, [16]), _ROWS: (4, [16]),
        _COMPRESSION: (3, [7]), _COLOUR: (3, [6]), 277: (3, [3]),
    }  # fmt: skip
    grey = tags | {_COLOUR: (3, [1]), 277: (3, [1])}
    larger = jpeg_claiming(small, 700, 700)
    return {
        "jpeg": case(PIXELS, raw_tiff(tags, small)),
        "jpeg-larger-than-its-strip": case(CUT, raw_tiff(tags, larger)),
        "jpeg-tables-with-a-larger-image": case("", raw_tiff(tags | {347: (7, larger)}, small)),
        "jpeg-tables-with-a-larger-header": case("", raw_tiff(tags | {347: (7, larger[:-200])}, small)),
        "jpeg-of-120-scans": case(NOT, raw_tiff(grey, jpeg_scans(16, 120))),
        "jpeg-that-is-a-png": case(CUT, raw_tiff(tags, saved(COLOUR, "PNG"))),
    }


def _metadata() -> Cases:
    """One page, with the metadata of a microscope or a program that says more than the file has."""
    ome = '<?xml version="1.0"?><OME><Image><Pixels SizeX="16" SizeY="16" SizeZ="9" SizeC="2"/></Image></OME>'
    texts = {
        "ome": ome,
        "imagej": "ImageJ=1.11a\nimages=9\nslices=9\nhyperstack=true\n",
        "shaped": json.dumps({"shape": [9, 9, 9]}),
        "a-megabyte-of-text": "a" * 1_000_000,
        "ten-brackets": "[" * 10,
    }
    found = {f"says-{name}": case("", raw_tiff({_DESCRIPTION: (2, text.encode())})) for name, text in texts.items()}
    numbers = {"lsm": 34_412, "micro-manager": 51_123, "ndpi": 65_420, "nih": 43_314, "mdgel": 33_445, "geo": 34_735}
    return (
        found
        | {f"tag-of-{name}": case(PIXELS, raw_tiff({tag: (4, [7] * 300)})) for name, tag in numbers.items()}
        | {"600-kilobytes-of-xmp": case(PIXELS, raw_tiff({700: (1, b"<x:xmpmeta/>" * 50_000)}))}
    )
