"""TIFFs that lie, inflate, run in circles, or hold what few programs write."""

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

from .trap import CUT, EMPTY, LARGE, NAN, NOT, PAGES, PIXELS, Traps, trap
from .valid import COLOUR, GREY, GREY16, SMOOTH

_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _COLOUR, _DESCRIPTION, _OFFSETS, _ROWS, _COUNTS = (
    256, 257, 258, 259, 262, 270, 273, 278, 279,
)  # fmt: skip
_GONE = {_OFFSETS: None, _COUNTS: None, _ROWS: None}
#: Inflates to 64 MB, of an image that has 64 bytes.
_BOMB = bytes(64 * 2**20)


def traps() -> Traps:
    found = _kinds() | _lies() | _bombs() | _lists() | _circles() | _jpegs() | _makers()
    return {f"tiff/{name}": made for name, made in found.items()}


def _kinds() -> Traps:
    """Odd ones that are images nonetheless, or would be."""
    nan = np.where(GREY > 99, np.nan, 1).astype(np.float32)
    cmyk = Image.fromarray(SMOOTH).convert("CMYK")
    wide = np.arange(100_000, dtype=np.uint8)[None] % 251
    found = {
        "100000-by-1": trap(PIXELS, lambda: tiff(wide.T.copy(), rowsperstrip=1000)),
        "1-by-100000": trap(PIXELS, lambda: tiff(wide, compression="deflate")),
        "a-strip-for-each-of-20000-rows": trap(PIXELS, lambda: tiff(wide[:, :20_000].T.copy(), rowsperstrip=1)),
        "16-channels": trap(PIXELS, lambda: tiff(np.dstack([GREY] * 16), planarconfig=1)),
        "17-channels": trap(NOT, lambda: tiff(np.dstack([GREY] * 17), planarconfig=1)),
        "float16": trap(PIXELS, lambda: tiff((GREY / 9).astype(np.float16))),
        "largest-doubles": trap(PIXELS, lambda: tiff(np.full((5, 6), np.finfo(np.float64).max))),
        "nan": trap(NAN, lambda: tiff(nan)),
        "nan-deflated": trap(NAN, lambda: tiff(nan, compression="deflate", predictor=True)),
        "infinity-float16": trap(NAN, lambda: tiff(np.full((5, 6), np.inf, np.float16))),
        "complex": trap(NOT, lambda: tiff(GREY.astype("c8"))),
        "lab": trap(NOT, lambda: saved(Image.fromarray(COLOUR).convert("LAB"), "TIFF")),
        "cmyk-lzw": trap(PIXELS, lambda: saved(cmyk, "TIFF", compression="tiff_lzw")),
        "12-bit": trap("", lambda: raw_tiff({_BITS: (3, [12])}, bytes(range(96)))),
        "24-bit": trap("", lambda: raw_tiff({_BITS: (3, [24])}, bytes(192))),
        "jpeg-2000": trap(NOT, lambda: tiff(COLOUR, compression="jpeg2000")),
        "jpeg-xl": trap(NOT, lambda: tiff(COLOUR, compression="jpegxl")),
        "volume": trap(PAGES, lambda: tiff(np.zeros((16, 16, 16), "u1"), volumetric=True, tile=(16, 16, 16))),
        "three-pages": trap(PAGES, lambda: tiff(np.stack([GREY16] * 3))),
        "empty-directory": trap(EMPTY, b"II*\0\x08\0\0\0" + bytes(6)),
    }
    turns = {f"orientation-{n}": trap(PIXELS, raw_tiff({274: (3, [n])})) for n in (0, 1, 5, 8, 9, 65_535)}
    return found | turns


def _lies() -> Traps:
    tags: dict[str, tuple[str, dict[int, Any]]] = {
        "no-width": (EMPTY, {_WIDTH: (4, [0])}),
        "width-gone": (EMPTY, {_WIDTH: None}),
        "huge": (LARGE, {_WIDTH: (4, [100_000]), _HEIGHT: (4, [60_000])}),
        "4-billion-rows": (LARGE, {_HEIGHT: (4, [2**32 - 1])}),
        "wide-and-not-there": (CUT, {_WIDTH: (4, [30_000])}),
        "width-is-a-list": (CUT, {_WIDTH: (4, [8, 8])}),
        "width-is-a-double": (CUT, {_WIDTH: (12, [8.0])}),
        "no-channels": (EMPTY, {277: (3, [0])}),
        "65535-channels": (NOT, {277: (3, [65_535])}),
        "0-bits": ("", {_BITS: (3, [0])}),
        "113-bits": (NOT, {_BITS: (3, [113])}),
        "65535-bits": (NOT, {_BITS: (3, [65_535])}),
        "bits-of-three-kinds": ("", {_BITS: (3, [8, 16, 1]), 277: (3, [3])}),
        "strip-before-the-file": (CUT, {_OFFSETS: (4, [0])}),
        "strip-beyond-the-file": (CUT, {_OFFSETS: (4, [2**31])}),
        "strip-of-4-gigabytes": (CUT, {_COUNTS: (4, [2**32 - 1])}),
        "strip-of-nothing": (CUT, {_COUNTS: (4, [0])}),
        "strips-gone": (CUT, _GONE),
        "strips-overlap": (CUT, {_ROWS: (4, [1]), _OFFSETS: (4, [16] * 8), _COUNTS: (4, [60] * 8)}),
        "no-rows-a-strip": ("", {_ROWS: (4, [0])}),
        "compression-unknown": (NOT, {_COMPRESSION: (3, [65_000])}),
        "colours-unknown": (NOT, {_COLOUR: (3, [32_803])}),
        "palette-gone": ("", {_COLOUR: (3, [3])}),
        "palette-too-short": ("", {_COLOUR: (3, [3]), 320: (3, [9] * 9)}),
        "predictor-unknown": ("", {317: (3, [99])}),
        "predictor-of-floats": ("", {317: (3, [3]), _COMPRESSION: (3, [8])}),
        "fill-order-9": ("", {266: (3, [9])}),
        "planes-9": ("", {284: (3, [9])}),
        "format-unknown": ("", {339: (3, [77])}),
        "tiles-of-nothing": (CUT, _GONE | {322: (4, [0]), 323: (4, [0]), 324: (4, [16]), 325: (4, [64])}),
        "tile-of-16-gigapixels": (LARGE, _GONE | {322: (4, [2**17]), 323: (4, [2**17]), 324: (4, [16]), 325: (4, [9])}),
        "deep-tile": (CUT + " " + LARGE + " " + PAGES, _GONE | {
            322: (4, [16]), 323: (4, [16]), 32998: (4, [2**31]), 324: (4, [16]), 325: (4, [64])
        }),
    }  # fmt: skip
    return {name: trap(wanted, raw_tiff(changed)) for name, (wanted, changed) in tags.items()}


def _bombs() -> Traps:
    """Few bytes that inflate to many more than the image has."""
    packed = {
        "deflate": (8, lambda: bytes(imagecodecs.zlib_encode(_BOMB, 1))),
        "zstd": (50_000, lambda: bytes(imagecodecs.zstd_encode(_BOMB, 1))),
        "lzma": (34_925, lambda: bytes(imagecodecs.lzma_encode(_BOMB, 1))),
        "lzw": (5, lambda: bytes(imagecodecs.lzw_encode(_BOMB[: 2**24]))),
        "packbits": (32_773, lambda: b"\x81\x00" * 2**18),
        "fax": (4, lambda: b"\xff" * 100_000),
    }
    found = {f"{name}-bomb": trap("", partial(_compressed, number, make)) for name, (number, make) in packed.items()}
    return found | {"60-tiles-of-16-megabytes": trap(LARGE, lambda: _tiles(60))}


def _compressed(number: int, make: Callable[[], bytes]) -> bytes:
    return raw_tiff({_COMPRESSION: (3, [number])}, make())


def _tiles(count: int) -> bytes:
    """One pixel of each is used."""
    tile = bytes(imagecodecs.zstd_encode(_BOMB[: 2**24], 1))
    offsets = [16 + n * len(tile) for n in range(count)]
    tags = {
        _WIDTH: (4, [1]), _HEIGHT: (4, [16 * count]), _COMPRESSION: (3, [50_000]),
        322: (4, [2**20]), 323: (4, [16]), 324: (4, offsets), 325: (4, [len(tile)] * count),
    }  # fmt: skip
    return raw_tiff({**_GONE, **tags}, tile * count)


def _long_tag(tag: int) -> bytes:
    return raw_tiff({tag: (4, [1] * 100_000)})


def _lists() -> Traps:
    """Tags of a hundred thousand values, which are one or three in images."""
    integers = (_BITS, _OFFSETS, _COUNTS, 277, 320, 330, 338, 339, 530, 33628, 34665, 65_000)
    found = {f"a-list-in-tag-{tag}": trap("", partial(_long_tag, tag)) for tag in integers}
    return found | {
        "a-list-of-fractions": trap(PIXELS, lambda: raw_tiff({282: (5, [1] * 100_000)})),
        "65535-tags": trap(CUT, b"II*\0\x08\0\0\0\xff\xff" + bytes(12 * 65_535 + 4)),
        "9-quintillion-tags": trap(CUT, struct.pack("<2sHHHQQ", b"II", 43, 8, 0, 16, 2**63) + bytes(64)),
        "big-9-quintillion-values": trap(CUT, lambda: raw_tiff(big=True).replace(
            struct.pack("<HHQ", _BITS, 4, 1), struct.pack("<HHQ", _BITS, 4, 2**63)
        )),
    }  # fmt: skip


def _circles() -> Traps:
    plain = raw_tiff()
    (start,) = struct.unpack_from("<I", plain, 4)
    itself = plain[:-4] + struct.pack("<I", start)
    return {
        "page-after-itself": trap(PAGES, itself),
        "page-within-itself": trap(PIXELS, raw_tiff({330: (4, [start])})),
        "exif-is-the-page": trap(PIXELS, raw_tiff({34665: (4, [80])})),
        "directory-is-the-header": trap("", b"II*\0\x00\0\0\0" + plain[8:]),
        "directory-beyond-the-file": trap(CUT, b"II*\0\xff\xff\xff\x7f" + plain[8:]),
    }


def _jpegs() -> Traps:
    small = saved(SMOOTH[:16, :16].copy(), "JPEG")
    tags: dict[int, Any] = {
        _WIDTH: (4, [16]), _HEIGHT: (4, [16]), _ROWS: (4, [16]),
        _COMPRESSION: (3, [7]), _COLOUR: (3, [6]), 277: (3, [3]),
    }  # fmt: skip
    grey = tags | {_COLOUR: (3, [1]), 277: (3, [1])}
    liar = jpeg_claiming(small, 65_000, 65_000)
    return {
        "jpeg": trap(PIXELS, raw_tiff(tags, small)),
        "jpeg-of-4-gigapixels": trap(CUT, raw_tiff(tags, liar)),
        "jpeg-of-4-gigapixels-in-tables": trap("", raw_tiff(tags | {347: (7, liar)}, small)),
        "jpeg-header-of-4-gigapixels-in-tables": trap("", raw_tiff(tags | {347: (7, liar[:-200])}, small)),
        "jpeg-scanned-20000-times": trap(NOT, lambda: raw_tiff(grey, jpeg_scans(16, 20_000))),
        "jpeg-that-is-a-png": trap(CUT, raw_tiff(tags, saved(COLOUR, "PNG"))),
    }


def _makers() -> Traps:
    """What the files of makers of microscopes and programs say of themselves."""
    ome = '<?xml version="1.0"?><OME><Image><Pixels SizeX="99999" SizeY="99999" SizeZ="99999" SizeC="9"/></Image></OME>'
    texts = {
        "ome": ome,
        "imagej": "ImageJ=1.11a\nimages=999999999\nslices=999999999\nhyperstack=true\n",
        "shaped": json.dumps({"shape": [99_999, 99_999, 99_999]}),
        "a-million-letters": "a" * 1_000_000,
        "a-million-brackets": "[" * 1_000_000,
    }
    found = {f"says-{name}": trap(PIXELS, raw_tiff({_DESCRIPTION: (2, text.encode())})) for name, text in texts.items()}
    numbers = {"lsm": 34_412, "micro-manager": 51_123, "ndpi": 65_420, "nih": 43_314, "mdgel": 33_445, "geo": 34_735}
    return (
        found
        | {f"claims-{name}": trap(PIXELS, raw_tiff({tag: (4, [2**31] * 300)})) for name, tag in numbers.items()}
        | {"600-kilobytes-of-xmp": trap(PIXELS, raw_tiff({700: (1, b"<x:xmpmeta/>" * 50_000)}))}
    )
