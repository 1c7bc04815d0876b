"""PNG, JPEG and WebP files that lie, inflate, or carry more than a picture."""

from __future__ import annotations

import struct
import zlib

import numpy as np
from PIL import Image

from tests.image_files import chunk, jpeg_claiming, jpeg_scans, png, saved, segment, turned

from .trap import CUT, LARGE, NOT, PAGES, PIXELS, Traps, trap
from .valid import COLOUR, GREY, SMOOTH, valid

#: An image of 8×8 RGB, 8 bits deep.
_ROWS = bytes(8 * 25)
#: Inflates to 64 MB.
_BOMB = bytes(64 * 2**20)
_XMP = '<x:xmpmeta><rdf:Description tiff:Orientation="{}"/></x:xmpmeta>'
#: A turn's number, and a list of a million numbers that is not there.
_EXIF = b"II*\0\x08\0\0\0\x02\0" + struct.pack("<HHIIHHII", 0x112, 3, 1, 6, 0x9286, 7, 2**31, 38) + bytes(4)
_EXIF_CIRCLE = b"II*\0\x08\0\0\0\x01\0" + struct.pack("<HHII", 0x8769, 4, 1, 8) + struct.pack("<I", 8)


def traps() -> Traps:
    kinds = {"png": _png() | _png_palettes() | _png_metadata(), "jpeg": _jpeg() | _jpeg_metadata(), "webp": _webp()}
    return {f"{kind}/{name}": made for kind, found in kinds.items() for name, made in found.items()}


def _small(before: bytes = b"", after: bytes = b"") -> bytes:
    return png(8, 8, _ROWS, 8, before=before, after=after)


def _png() -> Traps:
    small, header = _small(), chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 8, 2, 0, 0, 0))
    animated = chunk(b"acTL", struct.pack(">II", 2**31 - 1, 0))
    wide = np.arange(100_000, dtype=np.uint8)[None] % 251
    return {
        "huge": trap(LARGE, png(100_000, 100_000, b"", 8)),
        "huge-16-bit": trap(LARGE, png(100_000, 100_000, b"")),
        "huge-interlaced": trap(LARGE, png(100_000, 100_000, b"", 8, interlaced=1)),
        "2-billion-wide": trap(LARGE, png(2**31 - 1, 1, b"", 8)),
        "4-billion-wide": trap("", png(2**32 - 1, 2**32 - 1, b"", 8)),
        "no-columns": trap("", png(0, 8, b"", 8)),
        "100000-by-1": trap(PIXELS, saved(wide.T.copy(), "PNG")),
        "1-by-100000": trap(PIXELS, saved(wide, "PNG")),
        "20000-by-1-16-bit-interlaced": trap(PIXELS, lambda: png(1, 20_000, bytes(7 * 20_000), interlaced=1)),
        "more-pixels-than-claimed": trap(PIXELS, lambda: png(8, 8, _BOMB, 8)),
        "more-pixels-than-claimed-16-bit": trap(PIXELS, lambda: png(8, 8, _BOMB)),
        "fewer-pixels-than-claimed": trap(CUT, png(500, 500, _ROWS, 8)),
        "fewer-pixels-than-claimed-16-bit": trap(CUT, png(500, 500, _ROWS)),
        "bits-3": trap(CUT, png(8, 8, _ROWS, 3)),
        "bits-16-palette": trap(CUT, png(8, 8, _ROWS, 16, 3)),
        "colours-5": trap(CUT, png(8, 8, _ROWS, 8, 5)),
        "interlacing-7": trap("", png(8, 8, _ROWS, 8, interlaced=7)),
        "interlacing-7-16-bit": trap("", png(8, 8, _ROWS * 9, interlaced=7)),
        "filter-9": trap("", png(8, 8, b"\x09" * 200, 8)),
        "filter-9-16-bit": trap(CUT, png(8, 8, b"\x09" * 400)),
        "header-twice": trap("", _small(before=header)),
        "header-gone": trap(CUT, small[:8] + small[33:]),
        "header-late": trap("", small[:8] + chunk(b"tEXt", b"a\0b") + small[8:]),
        "sum-wrong": trap(CUT, small[:29] + b"oops" + small[33:]),
        "chunk-of-4-gigabytes": trap("", small[:33] + b"\xff\xff\xff\xffjUNK" + small[33:]),
        "chunk-unknown-and-critical": trap("", _small(before=chunk(b"EVIL", bytes(99)))),
        "50000-empty-chunks": trap("", lambda: _small(before=chunk(b"IDAT", b"") * 50_000)),
        "100000-empty-private-chunks": trap(NOT, lambda: _small(before=chunk(b"prVt", b"") * 100_000)),
        "2-billion-frames": trap("", _small(before=animated)),
        "2-billion-frames-16-bit": trap("", png(8, 8, _ROWS * 2, before=animated)),
        "end-gone": trap("", small[:-12]),
        "line-ends-mangled": trap(CUT + " " + NOT, small.replace(b"\r\n", b"\n")),
    }  # fmt: skip


def _png_palettes() -> Traps:
    def indexed(before: bytes) -> bytes:
        return png(8, 8, (b"\0" + b"\xff" * 8) * 8, 8, 3, before=before)

    return {
        "palette-gone": trap("", indexed(b"")),
        "palette-of-one": trap("", indexed(chunk(b"PLTE", b"abc"))),
        "palette-of-half": trap("", indexed(chunk(b"PLTE", b"a"))),
        "palette-of-30000": trap("", indexed(chunk(b"PLTE", bytes(90_000)))),
        "transparency-of-30000": trap("", indexed(chunk(b"PLTE", bytes(99)) + chunk(b"tRNS", bytes(30_000)))),
    }


def _png_metadata() -> Traps:
    packed, some = zlib.compress(_BOMB, 9), zlib.compress(bytes(1_000_000), 9)
    texts = {
        "zTXt-bomb": chunk(b"zTXt", b"Comment\0\0" + packed),
        "iTXt-bomb": chunk(b"iTXt", b"Comment\0\1\0en\0\0" + packed),
        "iTXt-100-megabytes-in-100": b"".join(chunk(b"iTXt", b"Comment%d\0\1\0en\0\0" % n + some) for n in range(100)),
        "iCCP-bomb": chunk(b"iCCP", b"profile\0\0" + packed),
        "tEXt-megabyte": chunk(b"tEXt", b"Comment\0" + b"a" * 1_000_000),
        "tEXt-9000-times": chunk(b"tEXt", b"a\0b") * 9_000,
        "exif-lies": chunk(b"eXIf", _EXIF),
        "exif-circle": chunk(b"eXIf", _EXIF_CIRCLE),
        "exif-megabyte": chunk(b"eXIf", _EXIF + b"a" * 1_000_000),
        "exif-as-text": chunk(b"tEXt", b"Raw profile type exif\0\n\nexif\n  99\nzz"),
        "xmp-orientation-9": chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + _XMP.format(9).encode()),
        "xmp-500-kilobytes": chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + b"<" * 500_000),
    }
    found = {name: trap("", _small(before=text)) for name, text in texts.items()}
    later = {f"{name}-after-the-pixels": trap("", _small(after=text)) for name, text in texts.items()}
    return found | later | {f"orientation-{n}": trap(PIXELS, saved(COLOUR, "PNG", exif=turned(n))) for n in range(10)}


def _jpeg() -> Traps:
    plain = saved(SMOOTH, "JPEG")
    at = plain.index(b"\xff\xc0")
    scan = plain.index(b"\xff\xda")
    hidden = jpeg_scans(64, 20_000).replace(b"\xff\xda", b"\xff\x01\xff\xda")
    return {
        "huge": trap(LARGE, jpeg_claiming(plain, 65_500, 65_500)),
        "500-by-500-and-not-there": trap("", jpeg_claiming(plain, 500, 500)),
        "no-rows": trap("", jpeg_claiming(plain, 80, 0)),
        "60000-by-1": trap(PIXELS, saved(np.zeros((60_000, 1), np.uint8), "JPEG")),
        "1-by-60000": trap(PIXELS, saved(np.zeros((1, 60_000), np.uint8), "JPEG")),
        "12-bit": trap("", plain[: at + 4] + b"\x0c" + plain[at + 5 :]),
        "lossless": trap("", plain[: at + 1] + b"\xc3" + plain[at + 2 :]),
        "arithmetic": trap("", plain[: at + 1] + b"\xc9" + plain[at + 2 :]),
        "progressive-it-says": trap("", plain[: at + 1] + b"\xc2" + plain[at + 2 :]),
        "sampled-15-to-1": trap("", plain[: at + 11] + b"\xff" + plain[at + 12 :]),
        "two-sizes": trap("", plain[:scan] + jpeg_claiming(plain, 9_000, 9_000)[at : at + 19] + plain[scan:]),
        "two-scans-of-all": trap("", plain[:-2] + plain[scan:]),
        "scanned-50-times": trap(PIXELS, jpeg_scans(64, 50)),
        "scanned-100000-times": trap(NOT, lambda: jpeg_scans(400, 100_000)),
        "scans-behind-a-marker-without-length": trap(f"{CUT} {NOT}", hidden),
        "end-gone": trap("", plain[:-2]),
        "begins-and-ends": trap(CUT, b"\xff\xd8\xff\xd9"),
        "pixels-gone": trap("", plain[: scan + 14] + b"\xff\xd9"),
        "tables-gone": trap(CUT, plain[:2] + plain[at:]),
        "200-beginnings": trap("", b"\xff\xd8" * 200 + plain),
        "filled-with-a-megabyte": trap(NOT, plain[:scan] + b"\xff" * 1_000_000 + plain[scan:]),
        "400000-empty-segments": trap(NOT, plain[:2] + b"\xff\xe5\0\2" * 400_000 + plain[2:]),
        "stereo": trap(PAGES, valid()["mpo"]),
    }  # fmt: skip


def _jpeg_metadata() -> Traps:
    plain = saved(SMOOTH, "JPEG")
    bodies = {
        "exif-lies": segment(0xE1, b"Exif\0\0" + _EXIF),
        "exif-circle": segment(0xE1, b"Exif\0\0" + _EXIF_CIRCLE),
        "exif-empty": segment(0xE1, b"Exif\0\0"),
        "exif-25-times": segment(0xE1, b"Exif\0\0" + _EXIF + bytes(60_000)) * 25,
        "colour-profile-of-255-parts": segment(0xE2, b"ICC_PROFILE\0\1\xff" + bytes(9)),
        "colour-profile-of-a-megabyte": b"".join(
            segment(0xE2, b"ICC_PROFILE\0" + bytes([n, 16]) + bytes(65_000)) for n in range(1, 17)
        ),
        "comments-of-a-megabyte": segment(0xFE, b"a" * 65_000) * 16,
        "4-billion-pictures": segment(
            0xE2, b"MPF\0II*\0\x08\0\0\0\1\0" + struct.pack("<HHIII", 0xB001, 4, 1, 2**32 - 1, 0)
        ),
        "inks-unknown": segment(0xEE, b"Adobe\0\x64\0\0\0\0\x09"),
        "photoshop": segment(0xED, b"Photoshop 3.0\x008BIM\x04\x04\0\0\xff\xff\xff\xff"),
        "xmp": segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + _XMP.format(7).encode()),
    }  # fmt: skip
    found = {name: trap("", plain[:2] + body + plain[2:]) for name, body in bodies.items()}
    return found | {f"orientation-{n}": trap(PIXELS, saved(SMOOTH, "JPEG", exif=turned(n))) for n in range(10)}


def _webp() -> Traps:
    animated, lossless, lossy = valid()["webp-animated"], valid()["webp-lossless"], saved(SMOOTH, "WEBP")
    still = Image.fromarray(GREY).convert("RGB")
    return {
        "huge": trap(LARGE, animated[:24] + struct.pack("<I", 15_999)[:3] * 2 + animated[30:]),
        "canvas-of-16-megapixels-a-side": trap(LARGE, animated[:24] + b"\xff" * 6 + animated[30:]),
        "canvas-smaller-than-frame": trap("", animated[:24] + bytes(6) + animated[30:]),
        "lossless-huge": trap(LARGE, lossless[:21] + b"\xff\xff\xff\x0f" + lossless[25:]),
        "lossy-huge": trap(LARGE, lossy[:26] + b"\xff\x3f\xff\x3f" + lossy[30:]),
        "lossy-no-columns": trap("", lossy[:26] + b"\0\0\0\0" + lossy[30:]),
        "animated": trap(PAGES, animated),
        "length-of-4-gigabytes": trap("", lossy[:4] + b"\xff\xff\xff\xff" + lossy[8:]),
        "length-of-nothing": trap("", lossy[:4] + bytes(4) + lossy[8:]),
        "beginning-only": trap(CUT, b"RIFF\x20\0\0\0WEBP"),
        "500-kilobytes-of-exif": trap("", saved(still, "WEBP", exif=b"Exif\0\0" + _EXIF + bytes(500_000))),
        "500-kilobytes-of-xmp": trap("", saved(still, "WEBP", xmp=b"<" * 500_000)),
        "exif-circle": trap("", saved(still, "WEBP", exif=b"Exif\0\0" + _EXIF_CIRCLE)),
        "pixels-twice": trap("", lossy + lossy[12:]),
    }
