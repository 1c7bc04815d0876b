"""PNG, JPEG and WebP files with wrong headers, or with more than a picture."""

from __future__ import annotations

import struct
import zlib

import numpy as np
from PIL import Image

from tests.image_files import chunk, jpeg_claiming, jpeg_scans, orientation_exif, png, saved, segment

from .case import CUT, LARGE, NOT, PAGES, PIXELS, Cases, case
from .valid import COLOUR, GREY, SMOOTH, valid

#: Rows of an image of 8×8 RGB, 8 bits deep.
_ROWS = bytes(8 * 25)
#: More than the megabyte that Pillow reads of one text or colour profile of a PNG.
_TWO_MEGABYTES = bytes(2 * 2**20)
_XMP = '<x:xmpmeta><rdf:Description tiff:Orientation="{}"/></x:xmpmeta>'
#: An orientation, and a list of a thousand bytes beyond the end.
_EXIF = b"II*\0\x08\0\0\0\x02\0" + struct.pack("<HHIIHHII", 0x112, 3, 1, 6, 0x9286, 7, 1_000, 38) + bytes(4)
#: A sub-directory beyond the end.
_EXIF_CUT = b"II*\0\x08\0\0\0\x01\0" + struct.pack("<HHII", 0x8769, 4, 1, 1_000) + bytes(4)


def cases() -> Cases:
    """The pictures, by name."""
    kinds = {"png": _png() | _png_palettes() | _png_metadata(), "jpeg": _jpeg() | _jpeg_metadata(), "webp": _webp()}
    return {f"{kind}/{name}": made for kind, found in kinds.items() for name, made in found.items()}


def _small(before: bytes = b"", after: bytes = b"") -> bytes:
    return png(8, 8, _ROWS, 8, before=before, after=after)


def _png() -> Cases:
    """PNGs with wrong headers, chunks or pixels. Pillow 13.0.0 takes minutes for a file of a million empty chunks."""
    small, header = _small(), chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 8, 2, 0, 0, 0))
    nine_frames = chunk(b"acTL", struct.pack(">II", 9, 0))
    wide = np.arange(100_000, dtype=np.uint8)[None] % 251
    return {
        "over-the-limit": case(LARGE, png(700, 700, b"", 8)),
        "over-the-limit-16-bit": case(LARGE, png(700, 700, b"")),
        "over-the-limit-interlaced": case(LARGE, png(700, 700, b"", 8, interlaced=1)),
        "over-the-limit-one-row": case(LARGE, png(400_000, 1, b"", 8)),
        "no-columns": case("", png(0, 8, b"", 8)),
        "100000-by-1": case(PIXELS, saved(wide.T.copy(), "PNG")),
        "1-by-100000": case(PIXELS, saved(wide, "PNG")),
        "20000-by-1-16-bit-interlaced": case(PIXELS, lambda: png(1, 20_000, bytes(7 * 20_000), interlaced=1)),
        "more-rows-than-the-header-says": case(PIXELS, png(8, 8, _TWO_MEGABYTES, 8)),
        "more-rows-than-the-header-says-16-bit": case(PIXELS, png(8, 8, _TWO_MEGABYTES)),
        "fewer-rows-than-the-header-says": case(CUT, png(500, 500, _ROWS, 8)),
        "fewer-rows-than-the-header-says-16-bit": case(CUT, png(500, 500, _ROWS)),
        "bits-3": case(CUT, png(8, 8, _ROWS, 3)),
        "bits-16-palette": case(CUT, png(8, 8, _ROWS, 16, 3)),
        "colours-5": case(CUT, png(8, 8, _ROWS, 8, 5)),
        "interlacing-7": case("", png(8, 8, _ROWS, 8, interlaced=7)),
        "interlacing-7-16-bit": case("", png(8, 8, _ROWS * 9, interlaced=7)),
        "filter-9": case("", png(8, 8, b"\x09" * 200, 8)),
        "filter-9-16-bit": case(CUT, png(8, 8, b"\x09" * 400)),
        "header-twice": case("", _small(before=header)),
        "header-missing": case(CUT, small[:8] + small[33:]),
        "header-late": case("", small[:8] + chunk(b"tEXt", b"a\0b") + small[8:]),
        "checksum-wrong": case(CUT, small[:29] + b"oops" + small[33:]),
        "chunk-longer-than-the-file": case("", small[:33] + struct.pack(">I", 100_000) + b"juNK" + small[33:]),
        "chunk-unknown-and-critical": case("", _small(before=chunk(b"EVIL", bytes(99)))),
        "5000-empty-chunks-of-pixels": case("", lambda: _small(before=chunk(b"IDAT", b"") * 5_000)),
        "10001-empty-private-chunks": case(NOT, lambda: _small(before=chunk(b"prVt", b"") * 10_001)),
        "frames-missing": case("", _small(before=nine_frames)),
        "frames-missing-16-bit": case("", png(8, 8, _ROWS * 2, before=nine_frames)),
        "end-missing": case("", small[:-12]),
        "line-ends-converted": case(CUT + " " + NOT, small.replace(b"\r\n", b"\n")),
    }  # fmt: skip


def _png_palettes() -> Cases:
    def indexed(before: bytes) -> bytes:
        return png(8, 8, (b"\0" + b"\xff" * 8) * 8, 8, 3, before=before)

    return {
        "palette-missing": case("", indexed(b"")),
        "palette-of-one": case("", indexed(chunk(b"PLTE", b"abc"))),
        "palette-of-a-third": case("", indexed(chunk(b"PLTE", b"a"))),
        "palette-of-30000": case("", indexed(chunk(b"PLTE", bytes(90_000)))),
        "transparency-of-30000": case("", indexed(chunk(b"PLTE", bytes(99)) + chunk(b"tRNS", bytes(30_000)))),
    }


def _png_metadata() -> Cases:
    packed = zlib.compress(_TWO_MEGABYTES, 9)
    texts = {
        "text-of-2-megabytes": chunk(b"zTXt", b"Comment\0\0" + packed),
        "international-text-of-2-megabytes": chunk(b"iTXt", b"Comment\0\1\0en\0\0" + packed),
        "colour-profile-of-2-megabytes": chunk(b"iCCP", b"profile\0\0" + packed),
        "plain-text-of-a-megabyte": chunk(b"tEXt", b"Comment\0" + b"a" * 1_000_000),
        "900-texts": chunk(b"tEXt", b"a\0b") * 900,
        "exif-list-missing": chunk(b"eXIf", _EXIF),
        "exif-directory-missing": chunk(b"eXIf", _EXIF_CUT),
        "exif-of-a-megabyte": chunk(b"eXIf", _EXIF + b"a" * 1_000_000),
        "exif-as-text": chunk(b"tEXt", b"Raw profile type exif\0\n\nexif\n  99\nzz"),
        "xmp-orientation-9": chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + _XMP.format(9).encode()),
        "xmp-of-500-kilobytes": chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + b" " * 500_000),
    }
    found = {name: case("", _small(before=text)) for name, text in texts.items()}
    later = {f"{name}-after-the-pixels": case("", _small(after=text)) for name, text in texts.items()}
    turned = {f"orientation-{n}": case(PIXELS, saved(COLOUR, "PNG", exif=orientation_exif(n))) for n in range(10)}
    return found | later | turned


def _jpeg() -> Cases:
    """JPEGs with wrong headers, or with more scans, segments or padding than the limits.

    libjpeg visits the whole picture in each scan, and Pillow 13.0.0 keeps each segment and reads each byte of padding
    in Python: files of a few megabytes have taken them minutes. Here the picture is 16×16, and the excess is small.
    """
    plain = saved(SMOOTH, "JPEG")
    frame, scan = plain.index(b"\xff\xc0"), plain.index(b"\xff\xda")
    hidden = jpeg_scans(16, 120).replace(b"\xff\xda", b"\xff\x01\xff\xda")
    return {
        "over-the-limit": case(LARGE, jpeg_claiming(plain, 700, 700)),
        "500-by-500-without-pixels": case("", jpeg_claiming(plain, 500, 500)),
        "no-rows": case("", jpeg_claiming(plain, 80, 0)),
        "60000-by-1": case(PIXELS, saved(np.zeros((60_000, 1), np.uint8), "JPEG")),
        "1-by-60000": case(PIXELS, saved(np.zeros((1, 60_000), np.uint8), "JPEG")),
        "12-bit": case("", plain[: frame + 4] + b"\x0c" + plain[frame + 5 :]),
        "lossless": case("", plain[: frame + 1] + b"\xc3" + plain[frame + 2 :]),
        "arithmetic": case("", plain[: frame + 1] + b"\xc9" + plain[frame + 2 :]),
        "baseline-called-progressive": case("", plain[: frame + 1] + b"\xc2" + plain[frame + 2 :]),
        "sampled-15-to-1": case("", plain[: frame + 11] + b"\xff" + plain[frame + 12 :]),
        "two-sizes": case("", plain[:scan] + jpeg_claiming(plain, 900, 900)[frame : frame + 19] + plain[scan:]),
        "two-scans-of-all": case("", plain[:-2] + plain[scan:]),
        "50-scans": case(PIXELS, jpeg_scans(16, 50)),
        "120-scans": case(NOT, jpeg_scans(16, 120)),
        "120-scans-behind-markers-without-length": case(f"{CUT} {NOT}", hidden),
        "end-missing": case("", plain[:-2]),
        "start-and-end": case(CUT, b"\xff\xd8\xff\xd9"),
        "pixels-missing": case("", plain[: scan + 14] + b"\xff\xd9"),
        "tables-missing": case(CUT, plain[:2] + plain[frame:]),
        "200-starts": case("", b"\xff\xd8" * 200 + plain),
        "padding-of-66000-bytes": case(NOT, plain[:scan] + b"\xff" * 66_000 + plain[scan:]),
        "10001-empty-segments": case(NOT, plain[:2] + b"\xff\xe5\0\2" * 10_001 + plain[2:]),
        "stereo": case(PIXELS, valid()["mpo"]),
    }  # fmt: skip


def _jpeg_metadata() -> Cases:
    plain = saved(SMOOTH, "JPEG")
    bodies = {
        "exif-list-missing": segment(0xE1, b"Exif\0\0" + _EXIF),
        "exif-directory-missing": segment(0xE1, b"Exif\0\0" + _EXIF_CUT),
        "exif-empty": segment(0xE1, b"Exif\0\0"),
        "exif-25-times": segment(0xE1, b"Exif\0\0" + _EXIF + bytes(60_000)) * 25,
        "colour-profile-of-255-parts": segment(0xE2, b"ICC_PROFILE\0\1\xff" + bytes(9)),
        "colour-profile-of-a-megabyte": b"".join(
            segment(0xE2, b"ICC_PROFILE\0" + bytes([n, 16]) + bytes(65_000)) for n in range(1, 17)
        ),
        "comments-of-a-megabyte": segment(0xFE, b"a" * 65_000) * 16,
        "pictures-missing": segment(0xE2, b"MPF\0II*\0\x08\0\0\0\1\0" + struct.pack("<HHIII", 0xB001, 4, 1, 9, 0)),
        "inks-unknown": segment(0xEE, b"Adobe\0\x64\0\0\0\0\x09"),
        "photoshop": segment(0xED, b"Photoshop 3.0\x008BIM\x04\x04\0\0\0\0\xff\xff"),
        "xmp": segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + _XMP.format(7).encode()),
    }  # fmt: skip
    found = {name: case("", plain[:2] + body + plain[2:]) for name, body in bodies.items()}
    turned = {f"orientation-{n}": case(PIXELS, saved(SMOOTH, "JPEG", exif=orientation_exif(n))) for n in range(10)}
    return found | turned


def _webp() -> Cases:
    """WebP files with wrong headers. Pillow 13.0.0 allocates the canvas that a header claims on opening the file."""
    animated, lossless, lossy = valid()["webp-animated"], valid()["webp-lossless"], saved(SMOOTH, "WEBP")
    still = Image.fromarray(GREY).convert("RGB")
    side = struct.pack("<I", 699)
    return {
        "over-the-limit": case(LARGE, animated[:24] + side[:3] * 2 + animated[30:]),
        "canvas-smaller-than-frame": case("", animated[:24] + bytes(6) + animated[30:]),
        "over-the-limit-lossless": case(LARGE, lossless[:21] + struct.pack("<I", 699 | 699 << 14) + lossless[25:]),
        "over-the-limit-lossy": case(LARGE, lossy[:26] + struct.pack("<HH", 700, 700) + lossy[30:]),
        "no-columns-lossy": case("", lossy[:26] + b"\0\0\0\0" + lossy[30:]),
        "animated": case(PAGES, animated),
        "longer-than-the-file": case("", lossy[:4] + struct.pack("<I", 100_000) + lossy[8:]),
        "length-0": case("", lossy[:4] + bytes(4) + lossy[8:]),
        "start-only": case(CUT, b"RIFF\x20\0\0\0WEBP"),
        "exif-of-500-kilobytes": case("", saved(still, "WEBP", exif=b"Exif\0\0" + _EXIF + bytes(500_000))),
        "xmp-of-500-kilobytes": case("", saved(still, "WEBP", xmp=b" " * 500_000)),
        "exif-directory-missing": case("", saved(still, "WEBP", exif=b"Exif\0\0" + _EXIF_CUT)),
        "pixels-twice": case("", lossy + lossy[12:]),
    }
