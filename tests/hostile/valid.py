"""Valid files of every format and kind, which are damaged at random."""

from __future__ import annotations

from functools import cache

import imagecodecs
import numpy as np
from PIL import Image

from tests.image_files import Array, npy, orientation_exif, saved, tiff

_RANDOM = np.random.default_rng(0)
GREY: Array = _RANDOM.integers(0, 256, (29, 37), np.uint8)
GREY16: Array = _RANDOM.integers(0, 65_536, (29, 37), np.uint16)
COLOUR: Array = _RANDOM.integers(0, 256, (29, 37, 3), np.uint8)
#: A smooth picture, of which lossy files are small.
SMOOTH: Array = np.stack([np.add.outer(np.arange(48) * k, np.arange(80)) for k in (1, 2, 4)], 2).astype(np.uint8)


@cache
def valid() -> dict[str, bytes]:
    """Name → file, each of a few thousand bytes at most."""
    palette = Image.fromarray(COLOUR).quantize(16)
    deep = np.dstack([GREY16] * 3)
    cmyk = Image.fromarray(SMOOTH).convert("CMYK")
    bits = GREY > 99
    colours = _RANDOM.integers(0, 65_536, (3, 256), np.uint16)
    return {
        "png": saved(COLOUR, "PNG"),
        "png-palette": saved(palette, "PNG", transparency=3),
        "png-16": saved(GREY16, "PNG"),
        "png-16-rgb": bytes(imagecodecs.png_encode(deep)),
        "png-exif": saved(GREY, "PNG", exif=orientation_exif(6)),
        "apng": saved(GREY, "PNG", save_all=True, append_images=[Image.fromarray(GREY[::-1])]),
        "jpeg": saved(SMOOTH, "JPEG"),
        "jpeg-progressive": saved(SMOOTH, "JPEG", progressive=True, exif=orientation_exif(5)),
        "jpeg-cmyk": saved(cmyk, "JPEG"),
        "mpo": saved(SMOOTH, "MPO", save_all=True, append_images=[Image.fromarray(SMOOTH[::-1])]),
        "bmp": saved(COLOUR, "BMP"),
        "bmp-palette": saved(palette, "BMP"),
        "webp": saved(SMOOTH, "WEBP", exif=orientation_exif(3)),
        "webp-lossless": saved(COLOUR, "WEBP", lossless=True),
        "webp-alpha": saved(np.dstack([SMOOTH, SMOOTH[..., 0]]), "WEBP"),
        "webp-animated": saved(SMOOTH, "WEBP", save_all=True, append_images=[Image.fromarray(SMOOTH[::-1])]),
        "gif-animated": saved(GREY, "GIF", save_all=True, append_images=[Image.fromarray(GREY[::-1])]),
        "npy": npy(GREY16),
        "npy-v2": npy(COLOUR, (2, 0)),
        "npy-fortran": npy(np.asfortranarray(COLOUR)),
        "npy-float64": npy(GREY / 7),
        "tiff": tiff(COLOUR),
        "tiff-big-endian": tiff(GREY16, byteorder=">"),
        "tiff-lzw": tiff(COLOUR, compression="lzw"),
        "tiff-deflate": tiff(COLOUR, compression="deflate", predictor=True, rowsperstrip=4),
        "tiff-packbits": tiff(GREY, compression="packbits"),
        "tiff-lzma": tiff(GREY, compression="lzma"),
        "tiff-zstd": tiff(GREY16, compression="zstd", tile=(16, 16)),
        "tiff-jpeg": tiff(SMOOTH, compression="jpeg"),
        "tiff-jpeg-tiled": tiff(SMOOTH, compression="jpeg", tile=(32, 32)),
        "tiff-fax": saved(bits, "TIFF", compression="group4"),
        "tiff-1-bit": saved(bits, "TIFF"),
        "tiff-cmyk": saved(cmyk, "TIFF", compression="tiff_lzw"),
        "tiff-palette": tiff(GREY, photometric="palette", colormap=colours),
        "tiff-planar": tiff(COLOUR.transpose(2, 0, 1), planarconfig=2, tile=(16, 16)),
        "tiff-float16": tiff((GREY / 7).astype(np.float16)),
        "tiff-float64": tiff(GREY / 7, compression="zstd", predictor=True),
        "bigtiff": tiff(GREY16, bigtiff=True),
        "bigtiff-pages": tiff(np.stack([GREY] * 3), bigtiff=True),
    }
