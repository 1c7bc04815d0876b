"""Bytes that a stranger sent → an array of pixels, or a typed error. The only place that decodes images.

Headers are checked against the limits before any pixel is decoded, so a small file cannot ask for a huge array.
"""

from __future__ import annotations

import io
import math
import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import imagecodecs
import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image

from .errors import EmptyImage, ImageError, ImageTooLarge, MultiPageImage, NonFiniteImage, NotAnImage, TruncatedImage

#: (H, W, C) pixels, C ≥ 1: bool, integers or floats as the file holds them, in the machine's byte order.
Pixels = NDArray[np.generic]

# The limit is ours, checked on the header; Pillow's own is one global number that warns first.
Image.MAX_IMAGE_PIXELS = None

_PILLOW_FORMATS = ("PNG", "JPEG", "BMP", "WEBP")
_PNG_MAGIC = b"\x89PNG"
_TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_NPY_MAGIC = b"\x93NUMPY"
_MAX_CHANNELS = 16
_EXIF_ORIENTATION = 0x112
#: Of 16-bit RGB, grey with alpha, RGB with alpha, by the header's colour type.
_PNG_PIXEL_BYTES = {2: 6, 4: 4, 6: 8}
_PNG_LAST_FILTER = 4
#: libpng's own limit of a side.
_PNG_MOST = 1_000_000
#: Bytes of a chunk, which can't have 2³¹.
_PNG_PIECE = 1 << 30
#: First row and column, and steps down and right, of an interlaced PNG's seven passes.
_ADAM7 = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))


@dataclass(frozen=True)
class ImageLimits:
    """The largest image that is decoded."""

    #: Bytes of the encoded file.
    max_bytes: int = 256 * 1024**2
    #: Height times width.
    max_pixels: int = 100_000_000

    @property
    def max_decoded(self) -> int:
        """Bytes of the decoded array: 12 a pixel (RGB in 32 bits) of the largest image."""
        return 12 * self.max_pixels


def decode(data: bytes, name: str = "image", limits: ImageLimits = ImageLimits()) -> Pixels:
    """Decode PNG, JPEG, TIFF, BMP, WebP or NumPy bytes to (H, W, C) pixels, upright, palettes expanded.

    `name` is what error messages call the image. Raises an `ImageError`: `NotAnImage`, `TruncatedImage`,
    `EmptyImage`, `ImageTooLarge`, `MultiPageImage` or `NonFiniteImage`.
    """
    if len(data) > limits.max_bytes:
        raise ImageTooLarge(f"{name}: {len(data):,} bytes, over the limit of {limits.max_bytes:,} bytes")
    if data.startswith(_TIFF_MAGIC):
        read = _read_tiff
    elif data.startswith(_NPY_MAGIC):
        read = _read_npy
    else:
        read = _read_pillow
    try:
        pixels = read(data, name, limits)
    except ImageError:
        raise
    except MemoryError as error:
        raise ImageTooLarge(f"{name}: not enough memory to decode it") from error
    except Exception as error:  # decoders raise nearly anything on hostile bytes
        raise TruncatedImage(f"{name}: damaged or cut short ({type(error).__name__}: {error})") from error
    return _checked(pixels, name)


def _checked(pixels: Pixels, name: str) -> Pixels:
    """The pixels as (H, W, C), if a network can take them."""
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    if pixels.ndim != 3 or pixels.shape[2] > _MAX_CHANNELS:
        raise NotAnImage(f"{name}: shape {pixels.shape} is not (H, W) or (H, W, channels up to {_MAX_CHANNELS})")
    if pixels.size == 0:
        raise EmptyImage(f"{name}: shape {pixels.shape} has 0 pixels")
    if pixels.dtype.kind not in "buif":
        raise NotAnImage(f"{name}: pixels of type {pixels.dtype} are not numbers")
    if pixels.dtype.itemsize > 8:  # long double: nothing else has it
        with np.errstate(over="ignore"):
            pixels = pixels.astype(np.float64)
    if pixels.dtype.kind == "f" and not np.isfinite(pixels).all():
        raise NonFiniteImage(f"{name}: {int((~np.isfinite(pixels)).sum()):,} values are NaN or infinite")
    return np.ascontiguousarray(pixels, pixels.dtype.newbyteorder("="))


def _check_size(height: int, width: int, name: str, limits: ImageLimits) -> None:
    if height == 0 or width == 0:
        raise EmptyImage(f"{name}: {height}×{width} has 0 pixels")
    if height * width > limits.max_pixels:
        raise ImageTooLarge(
            f"{name}: {height}×{width} is {height * width:,} pixels, over the limit of {limits.max_pixels:,} pixels"
        )


def _check_channels(channels: int, name: str) -> None:
    if channels == 0:
        raise EmptyImage(f"{name}: 0 channels")
    if channels > _MAX_CHANNELS:
        raise NotAnImage(f"{name}: {channels} channels, more than {_MAX_CHANNELS}")


def _upright(pixels: Pixels, orientation: object) -> Pixels:
    """(H, W, …) pixels turned as the Exif orientation, 1 to 8, says; any other value leaves them."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return pixels[:, ::-1] if orientation in (2, 3, 6, 7) else pixels


# PNG, JPEG, BMP, WebP


def _read_pillow(data: bytes, name: str, limits: ImageLimits) -> Pixels:
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP" and len(data) >= 30:
        _check_size(*_webp_size(data), name, limits)
    try:
        image = Image.open(io.BytesIO(data), formats=_PILLOW_FORMATS)
    except MemoryError:
        raise
    except Exception as error:
        if _begins_well(data):
            raise TruncatedImage(f"{name}: damaged or cut short in its header ({error})") from error
        raise NotAnImage(f"{name}: not a PNG, JPEG, TIFF, BMP, WebP or NumPy file") from error
    with image:
        _check_size(image.height, image.width, name, limits)
        frames = getattr(image, "n_frames", 1)
        if frames > 1:
            raise MultiPageImage(f"{name}: {frames} frames; send each frame as an image of its own")
        pixels = _deep_colour_png(data, name) if _is_deep_colour_png(data) else np.asarray(_expanded(image))
        return _upright(pixels, _orientation(image))


def _webp_size(data: bytes) -> tuple[int, int]:
    """Height and width that the header of a WebP file claims: Pillow allocates the canvas on opening it."""
    if data[12:16] == b"VP8X":
        return int.from_bytes(data[27:30], "little") + 1, int.from_bytes(data[24:27], "little") + 1
    if data[12:16] == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return (bits >> 14 & 0x3FFF) + 1, (bits & 0x3FFF) + 1
    return int.from_bytes(data[28:30], "little") & 0x3FFF, int.from_bytes(data[26:28], "little") & 0x3FFF


def _begins_well(data: bytes) -> bool:
    """Whether the first bytes are those of a format that Pillow reads for us."""
    if data.startswith(b"BM"):  # two letters that text may begin with: a bitmap's next words end in zeros
        return data[6:10] == bytes(4)
    return data.startswith((_PNG_MAGIC, b"\xff\xd8\xff")) or (data[:4] == b"RIFF" and data[8:12] == b"WEBP")


def _expanded(image: Image.Image) -> Image.Image:
    """The image in a mode whose values are intensities, not a palette's indices or another colour space."""
    if image.mode in ("P", "PA"):
        return image.convert("RGBA" if "transparency" in image.info or image.mode == "PA" else "RGB")
    return image.convert("RGB") if image.mode in ("CMYK", "YCbCr", "LAB", "HSV") else image


def _orientation(image: Image.Image) -> object:
    """The Exif orientation; 1 where the Exif block is damaged, which is no reason to refuse the pixels."""
    try:
        return image.getexif().get(_EXIF_ORIENTATION, 1)
    except Exception:
        return 1


# PNG of 16 bits a channel and more than one channel, which Pillow would cut to 8


def _is_deep_colour_png(data: bytes) -> bool:
    """The header's bit depth and colour type."""
    return data.startswith(_PNG_MAGIC) and len(data) > 25 and data[24] == 16 and data[25] in (2, 4, 6)


def _deep_colour_png(data: bytes, name: str) -> Pixels:
    """(H, W, C) uint16.

    libpng leaves a damaged stream by a long jump, over which imagecodecs drops a reference to None each time; when
    the last is gone the process dies. So what it gets here is a new file of nothing but sound rows.
    """
    stream = b"".join(body for kind, body in _png_chunks(data, name) if kind == b"IDAT")
    width, height, _, colour, _, _, interlaced = struct.unpack_from(">IIBBBBB", data, 16)
    if max(width, height) > _PNG_MOST:
        raise ImageTooLarge(f"{name}: {height}×{width}, over the limit of {_PNG_MOST:,} a side in 16-bit colour PNG")
    passes = _ADAM7 if interlaced else ((0, 0, 1, 1),)
    rows = [
        (-(-(height - top) // down), 1 + -(-(width - left) // right) * _PNG_PIXEL_BYTES[colour])
        for top, left, down, right in passes
        if height > top and width > left
    ]
    wanted = sum(count * length for count, length in rows)
    raw = zlib.decompressobj().decompress(stream, wanted)
    if len(raw) < wanted:
        raise TruncatedImage(f"{name}: cut short: {len(raw):,} of {wanted:,} bytes of pixels")
    start = 0
    for count, length in rows:
        if max(raw[start : start + count * length : length]) > _PNG_LAST_FILTER:
            raise TruncatedImage(f"{name}: damaged: a row is filtered by no method of PNG")
        start += count * length
    header = struct.pack(">IIBBBBB", width, height, 16, colour, 0, 0, bool(interlaced))
    stored = zlib.compress(raw, 0)
    pieces = [(b"IDAT", stored[at : at + _PNG_PIECE]) for at in range(0, len(stored), _PNG_PIECE)]
    whole = b"".join(_png_chunk(*chunk) for chunk in ((b"IHDR", header), *pieces, (b"IEND", b"")))
    return np.asarray(imagecodecs.png_decode(data[:8] + whole))


def _png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _png_chunks(data: bytes, name: str) -> Iterator[tuple[bytes, bytes]]:
    """The kind and the body of each chunk up to the last, sums checked where they matter."""
    at, kind = 8, b""
    while kind != b"IEND":
        length, kind = struct.unpack_from(">I4s", data, at)
        body, end = data[at + 8 : at + 8 + length], at + 12 + length
        if end > len(data):
            raise TruncatedImage(f"{name}: cut short: {len(data):,} bytes end before the image does")
        if (kind == b"IHDR") != (at == 8):
            raise TruncatedImage(f"{name}: damaged: its header is not where it belongs")
        if kind in (b"IHDR", b"IDAT") and data[at:end] != _png_chunk(kind, body):
            raise TruncatedImage(f"{name}: damaged: the checksum of its {kind.decode()} is wrong")
        yield kind, body
        at = end


# NumPy


def _read_npy(data: bytes, name: str, limits: ImageLimits) -> Pixels:
    stream = io.BytesIO(data)
    version = np.lib.format.read_magic(stream)
    header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = header(stream)
    if dtype.kind not in "buif" or len(shape) not in (2, 3):
        raise NotAnImage(f"{name}: a NumPy array of {dtype} and shape {shape}, not (H, W) or (H, W, C) of numbers")
    if min(shape) < 0:
        raise TruncatedImage(f"{name}: damaged: a NumPy array of shape {shape}")
    _check_size(shape[0], shape[1], name, limits)
    _check_channels(shape[2] if len(shape) == 3 else 1, name)
    wanted, there = math.prod(shape) * dtype.itemsize, len(data) - stream.tell()
    if there < wanted:
        raise TruncatedImage(f"{name}: cut short: {there:,} of {wanted:,} bytes of pixels")
    stream.seek(0)
    return np.asarray(np.lib.format.read_array(stream, allow_pickle=False))


# TIFF

_WIDTH, _HEIGHT, _COMPRESSION, _PHOTOMETRIC, _SAMPLES, _PLANAR = 256, 257, 259, 262, 277, 284
_TILE_WIDTH, _TILE_HEIGHT, _DEPTH, _TILE_DEPTH = 322, 323, 32997, 32998
_SINGLE_TAGS = frozenset({
    _WIDTH, _HEIGHT, _COMPRESSION, _PHOTOMETRIC, _SAMPLES, _PLANAR, _TILE_WIDTH, _TILE_HEIGHT, _DEPTH, _TILE_DEPTH,
    266, _EXIF_ORIENTATION, 317,
})  # fmt: skip
_INTEGER_TYPES = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q"}
_JPEG, _CMYK, _YCBCR = 7, 5, 6
#: None, the three of fax, LZW, JPEG, deflate (two numbers), PackBits, LZMA, Zstandard (two numbers). The rest are
#: rare, and decode images whose own headers may claim any size.
_COMPRESSIONS = frozenset({1, 2, 3, 4, 5, _JPEG, 8, 32946, 32773, 34925, 34926, 50000})
#: WhiteIsZero (kept as the file holds it), BlackIsZero, RGB, palette, mask, CMYK; YCbCr only inside JPEG.
_PHOTOMETRICS = frozenset({0, 1, 2, 3, 4, _CMYK})
#: Bytes of a strip or tile that are fine whatever the limit: a small image may stand in a larger tile.
_USUAL_TILE = 16 * 2**20
# What files of these makers say beyond TIFF is no concern here, and parsing it trusts them.
_NO_MAKERS: dict[str, Any] = {f"is_{flag}": False for flag in tifffile.TIFF.FILE_FLAGS}


def _read_tiff(data: bytes, name: str, limits: ImageLimits) -> Pixels:
    tags, another = _tiff_directory(data, name)
    if another:
        raise MultiPageImage(f"{name}: a TIFF of more than one page; send each page as an image of its own")
    if tags.get(_DEPTH, 1) > 1:
        raise MultiPageImage(f"{name}: a volume of {tags[_DEPTH]} planes; send each plane by itself")
    _check_size(tags.get(_HEIGHT, 0), tags.get(_WIDTH, 0), name, limits)
    _check_channels(tags.get(_SAMPLES, 1), name)
    _check_kind(tags, name)
    with tifffile.TiffFile(io.BytesIO(data), **_NO_MAKERS) as tiff:
        page = tiff.pages.first
        if page.dtype is None:
            raise NotAnImage(f"{name}: a TIFF with {page.bitspersample} bits a sample, which maskq does not read")
        _check_bytes(page.shape, page.dtype, limits.max_decoded, name)
        _check_bytes(page.chunks, page.dtype, max(limits.max_decoded, _USUAL_TILE), name)
        _check_segments(page, data, name)
        pixels = page.asarray(maxworkers=1)
        if page.photometric == tifffile.PHOTOMETRIC.PALETTE and page.colormap is not None:
            pixels = np.moveaxis(page.colormap[:, pixels], 0, -1)
        elif page.planarconfig == tifffile.PLANARCONFIG.SEPARATE and pixels.ndim == 3:
            pixels = np.moveaxis(pixels, 0, -1)
        if tags.get(_PHOTOMETRIC) == _CMYK:
            pixels = _from_cmyk(pixels, name)
        return _upright(pixels, tags.get(_EXIF_ORIENTATION, 1))


def _tiff_directory(data: bytes, name: str) -> tuple[Mapping[int, int], bool]:
    """The tags that shape the first image, and whether there is a second.

    Read before tifffile sees the file: it multiplies what it finds, be it a tuple, and follows pages without end.
    """
    order, big = "<" if data[:1] == b"I" else ">", b"+" in data[2:4]
    word, entry, offset_at = ("Q", "HHQ8s", 8) if big else ("I", "HHI4s", 4)
    (start,) = struct.unpack_from(order + word, data, offset_at)
    (count,) = struct.unpack_from(order + ("Q" if big else "H"), data, start)
    start += 8 if big else 2
    end = start + count * struct.calcsize(order + entry)
    (following,) = struct.unpack_from(order + word, data, end)
    tags: dict[int, int] = {}
    for tag, kind, values, raw in struct.iter_unpack(order + entry, data[start:end]):
        if tag in _SINGLE_TAGS:
            if tag in tags or values != 1 or kind not in _INTEGER_TYPES:
                raise TruncatedImage(f"{name}: damaged: its TIFF tag {tag} is not one integer")
            (tags[tag],) = struct.unpack_from(order + _INTEGER_TYPES[kind], raw)
    return tags, following != 0


def _check_kind(tags: Mapping[int, int], name: str) -> None:
    compression, photometric = tags.get(_COMPRESSION, 1), tags.get(_PHOTOMETRIC, 1)
    if compression not in _COMPRESSIONS:
        raise NotAnImage(f"{name}: a TIFF of compression {compression}, which maskq does not read; try deflate or LZW")
    if photometric not in _PHOTOMETRICS and (photometric, compression) != (_YCBCR, _JPEG):
        raise NotAnImage(f"{name}: a TIFF of colour space {photometric}, which maskq does not read; try grey or RGB")


def _check_bytes(shape: tuple[int, ...], dtype: np.dtype[Any], most: int, name: str) -> None:
    size = math.prod(shape) * dtype.itemsize
    if size > most:
        raise ImageTooLarge(f"{name}: {shape} {dtype} is {size:,} bytes of pixels, over the limit of {most:,} bytes")


def _check_segments(page: tifffile.TiffPage, data: bytes, name: str) -> None:
    """Missing pieces are refused: tifffile fills a strip or tile that is not there with zeros."""
    wanted = math.prod(page.chunked)
    segments = list(zip(page.dataoffsets[:wanted], page.databytecounts[:wanted], strict=False))
    if len(segments) < wanted or any(o <= 0 or n <= 0 or o + n > len(data) for o, n in segments):
        raise TruncatedImage(f"{name}: cut short: {len(data):,} bytes end before the image does")
    if sum(page.databytecounts[:wanted]) > len(data):
        raise TruncatedImage(f"{name}: damaged: its strips or tiles overlap")
    if page.compression == _JPEG:
        most = page.chunks[0] * page.chunks[1]
        for offset, count in segments:
            with Image.open(io.BytesIO(data[offset : offset + count]), formats=("JPEG",)) as tile:
                if tile.width * tile.height > most:
                    raise TruncatedImage(f"{name}: damaged: a tile of {most:,} pixels holds a JPEG of {tile.size}")


def _from_cmyk(pixels: Pixels, name: str) -> Pixels:
    """(H, W, C ≥ 4) unsigned ink → (H, W, 3) light."""
    if pixels.ndim != 3 or pixels.shape[2] < 4 or pixels.dtype.kind != "u":
        raise NotAnImage(f"{name}: a CMYK TIFF of shape {pixels.shape} and type {pixels.dtype}; try RGB")
    most = 256**pixels.dtype.itemsize - 1
    ink = pixels[..., :4].astype(np.float32) / most
    light: Pixels = np.rint((1 - ink[..., :3]) * (1 - ink[..., 3:]) * most).astype(pixels.dtype)
    return light
