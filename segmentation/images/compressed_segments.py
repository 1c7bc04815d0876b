"""The rarer compressions of TIFF: which maskq reads, and checks of what a compressed strip or tile claims to hold.

A decoder allocates what the header inside the segment claims, whatever the TIFF's tags say. The checks come first.
"""

import struct
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from ..errors import ImageError, NotAnImage, TruncatedImage
from . import jpeg2000, jpegxl, jpegxr, lerc, png, webp
from .checks import short_message

#: What compressions are called in errors, by the value of the TIFF's tag 259.
NAMES: Mapping[int, str] = MappingProxyType({
    1: "none", 2: "CCITT run-length", 3: "CCITT fax group 3", 4: "CCITT fax group 4", 5: "LZW", 6: "old-style JPEG",
    7: "JPEG", 8: "deflate", 9: "JBIG black and white", 10: "JBIG colour", 99: "JPEG of number 99", 103: "ImpacJ",
    262: "Kodak 262", 22610: "JPEG XR of Hamamatsu NDPI", 32766: "NeXT 2-bit run-length", 32767: "Sony ARW",
    32769: "packed raw", 32770: "Samsung SRW", 32771: "CCITT run-length, word-aligned", 32772: "Samsung SRW 2",
    32773: "PackBits", 32809: "ThunderScan", 32895: "IT8 CT padded", 32896: "IT8 linework", 32897: "IT8 monochrome",
    32898: "IT8 binary linework", 32908: "Pixar film", 32909: "Pixar log", 32946: "deflate", 32947: "Kodak DCS",
    33003: "JPEG 2000 of Aperio (YCbCr)", 33004: "JPEG 2000, lossy", 33005: "JPEG 2000 of Aperio (RGB)",
    33007: "JPEG of number 33007", 34661: "JBIG", 34676: "SGI LogLuv", 34677: "SGI LogLuv, 24 bits",
    34692: "LuraDocument", 34712: "JPEG 2000", 34713: "Nikon NEF", 34715: "JBIG2",
    34718: "Microsoft Document Imaging, binary",
    34719: "Microsoft Document Imaging, progressive", 34720: "Microsoft Document Imaging, vector", 34887: "LERC",
    34892: "lossy JPEG of DNG", 34925: "LZMA", 34926: "Zstandard", 34927: "WebP", 34933: "PNG", 34934: "JPEG XR",
    48124: "Jetraw", 50000: "Zstandard", 50001: "WebP", 50002: "JPEG XL", 50013: "PixTIFF", 52546: "JPEG XL of DNG",
    65000: "electron events (EER)", 65001: "electron events (EER)", 65002: "electron events (EER)",
})  # fmt: skip

#: JPEG XR's library is no longer maintained, and a JPEG XL's frames can claim sizes that no header check sees. They are
#: decoded in a process of their own, with limits: `isolated`.
ISOLATED = frozenset({22610, 34934, 50002, 52546})


@dataclass(frozen=True)
class _Claim:
    """What the header of a segment says that it holds."""

    height: int
    width: int
    samples: int


def check_segment(compression: int, segment: bytes, max_pixels: int, max_samples: int, name: str) -> None:
    """Check a strip or tile of a compression in `READABLE` before it is decoded.

    It may hold `max_pixels` (height times width) of `max_samples` each. Raises `TruncatedImage` if it claims more or is
    damaged, `ImageTooLarge` if its structure takes too much memory, `NotAnImage` for kinds that maskq does not read.
    """
    kind = NAMES[compression]
    try:
        claim = _CLAIMS[compression](segment, name)
    except ImageError:
        raise
    except (IndexError, ValueError, struct.error, zlib.error) as error:
        raise TruncatedImage(f"{name}: damaged: a {kind} strip or tile ({short_message(error)})") from error
    if claim.height * claim.width > max_pixels or claim.samples > max_samples:
        raise TruncatedImage(
            f"{name}: damaged: a strip or tile of {max_pixels:,} pixels and {max_samples} channels holds a {kind} of "
            f"{claim.height}×{claim.width} and {claim.samples}"
        )


def _jpeg2000(segment: bytes, name: str) -> _Claim:
    header = jpeg2000.read_codestream(segment, name)
    if not header.full_size:
        raise NotAnImage(f"{name}: a TIFF of JPEG 2000 with reduced colours (chroma); save it with deflate or LZW")
    return _Claim(header.height, header.width, header.components)


def _jpegxl(segment: bytes, name: str) -> _Claim:
    header = jpegxl.read_header(segment, name)
    if header.animated:
        raise NotAnImage(f"{name}: a TIFF with an animated JPEG XL inside; save it with deflate or LZW")
    return _Claim(header.height, header.width, header.colours + header.extra_channels)


def _jpegxr(segment: bytes, name: str) -> _Claim:
    header = jpegxr.read_header(segment, name)
    return _Claim(header.height, header.width, 1)


def _lerc(segment: bytes, name: str) -> _Claim:
    header = lerc.read_header(segment, name)
    return _Claim(header.height, header.width, header.samples)


def _png(segment: bytes, name: str) -> _Claim:
    header = png.read_header(segment, name)
    png.check_pixels(segment, header, name)
    return _Claim(header.height, header.width, header.channels)


def _webp(segment: bytes, name: str) -> _Claim:
    header = webp.read_header(segment, name)
    if header.animated:
        raise NotAnImage(f"{name}: a TIFF with an animated WebP inside; save it with deflate or LZW")
    return _Claim(header.height, header.width, 3)


_CLAIMS: Mapping[int, Callable[[bytes, str], _Claim]] = {
    **dict.fromkeys((33003, 33004, 33005, 34712), _jpeg2000),
    **dict.fromkeys((50002, 52546), _jpegxl),
    **dict.fromkeys((22610, 34934), _jpegxr),
    **dict.fromkeys((34927, 50001), _webp),
    34887: _lerc,
    34933: _png,
}

#: Compressions whose segments `check_segment` checks and tifffile decodes.
READABLE: frozenset[int] = frozenset(_CLAIMS)
