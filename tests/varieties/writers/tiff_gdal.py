"""TIFF by GDAL: types, compressions, overviews, masks, sparse tiles, bands, palettes, COG."""

from collections.abc import Callable
from typing import Any

import numpy as np
import rasterio
import rasterio.enums

from .. import pictures
from ..pictures import HEIGHT, WIDTH, Array, picture
from .arrays import gdal
from .sample import GDAL, Kept, Samples, bits_of, written

_LAYOUT = Kept(GDAL, "TIFF: samples and layout", "gdal", ".tif")
_COMPRESSION = Kept(GDAL, "TIFF: compressions", "gdal", ".tif")
_COLOUR = Kept(GDAL, "TIFF: colours", "gdal", ".tif")
_PAGES = Kept(GDAL, "TIFF: pages", "gdal", ".tif")
_CHANNELS = Kept(GDAL, "TIFF: channels", "gdal", ".tif")
_GEO = Kept(GDAL, "TIFF: GeoTIFF", "gdal", ".tif")
_TILED = {"tiled": True, "blockxsize": 16, "blockysize": 16}


def _tiff(name: str, **options: Any) -> bytes:
    return gdal(".tif", "GTiff", picture(name), **options)


def samples() -> Samples:
    """Types, tiles, byte order, bands, sparse tiles."""
    for name, compress in (("grey16", "NONE"), ("int16", "NONE"), ("float32", "NONE"), ("float64", "DEFLATE")):
        yield _LAYOUT(name, _tiff(name, compress=compress), bits_of(name), name)
    yield _LAYOUT("tiles", _tiff("grey8", **_TILED), "tiles", "grey8")
    yield _LAYOUT("nbits1", _tiff("bilevel-uint8", NBITS=1), "1 bit", "bilevel-uint8", compare="scaled")
    yield _LAYOUT("nbits12", _tiff("grey12", NBITS=12), "12 bits", "grey12")
    yield _LAYOUT("big-endian", _tiff("grey16", ENDIANNESS="BIG"), "big-endian", "grey16")
    sparse = _tiff("sparse-16bit", SPARSE_OK="TRUE", compress="DEFLATE", **_TILED)
    yield _LAYOUT("sparse", sparse, "missing tiles", "sparse-16bit")
    yield _CHANNELS("bands", _tiff("stains5-16bit", compress="DEFLATE"), "extra samples", "stains5-16bit")
    data = _tiff("stains3-16bit", compress="DEFLATE", interleave="band")
    yield _CHANNELS("bands-planar", data, "extra samples, planar", "stains3-16bit")
    data = gdal(".tif", "GTiff", np.repeat(picture("bilevel-uint8"), 20, 2), compress="DEFLATE")
    yield _CHANNELS.refused("20-bands", data, "more than 16 channels", "20 channels")


def compressions() -> Samples:
    """Every compression of the GDAL in rasterio's wheels."""
    for code, variety, name in (
        ("LZW", "LZW", "grey16"), ("DEFLATE", "deflate", "grey16"), ("ZSTD", "Zstandard", "grey16"),
        ("LZMA", "LZMA", "grey16"), ("PACKBITS", "PackBits", "grey8"), ("LERC", "LERC", "float32"),
    ):  # fmt: skip
        yield _COMPRESSION(code.lower(), _tiff(name, compress=code, **_TILED), variety, name)
    for code, variety in (("LERC_DEFLATE", "LERC with deflate"), ("LERC_ZSTD", "LERC with Zstandard")):
        yield _COMPRESSION.refused(code.lower(), _tiff("float32", compress=code, **_TILED), variety, "LERC")
    for code, variety in (("CCITTRLE", "CCITT RLE"), ("CCITTFAX3", "CCITT fax 3"), ("CCITTFAX4", "CCITT fax 4")):
        data = _tiff("bilevel-uint8", compress=code, NBITS=1)
        yield _COMPRESSION(code.lower(), data, variety, "bilevel-uint8", compare="scaled")
    yield _COMPRESSION("webp", _tiff("rgb8", compress="WEBP", WEBP_LOSSLESS="YES", **_TILED), "WebP", "rgb8")
    jpeg = {"compress": "JPEG", "JPEG_QUALITY": 95}
    data = _tiff("rgb8", **jpeg, photometric="YCBCR", **_TILED)
    yield _COMPRESSION("jpeg-ycbcr", data, "JPEG, YCbCr", "rgb8", compare="lossy 16")
    yield _COMPRESSION("jpeg-grey", _tiff("grey8", **jpeg), "JPEG, grey", "grey8", compare="lossy 4")
    data = _tiff("rgb8", **jpeg, interleave="band", photometric="RGB")
    yield _COMPRESSION("jpeg-bands", data, "JPEG, planes of colours", "rgb8", compare="lossy 8")
    data = _tiff("grey16", compress="DEFLATE", predictor=2, **_TILED)
    yield _COMPRESSION("predictor2", data, "predictor 2", "grey16")
    yield _COMPRESSION("predictor3", _tiff("float32", compress="LZW", predictor=3), "predictor 3", "float32")


def colours() -> Samples:
    """RGB, alpha, WhiteIsZero, palettes."""
    white = gdal(".tif", "GTiff", 255 - picture("grey8"), photometric="MINISWHITE")
    yield _COLOUR("white", white, "WhiteIsZero, 8 bits", "grey8", says="WhiteIsZero")
    yield _COLOUR("rgb8", _tiff("rgb8", compress="DEFLATE"), "RGB, 8 bits", "rgb8")
    yield _COLOUR("rgba8", _tiff("rgba8", compress="DEFLATE"), "RGB with alpha", "rgba8")
    sixteen, two = ("colours16-16bit", pictures.COLOURS), ("colours2-16bit", pictures.TWO_COLOURS)
    for bits, indices, (name, palette) in ((8, "index", sixteen), (4, "index", sixteen), (1, "bilevel-uint8", two)):
        variety = f"palette, {bits} bit" + "s" * (bits > 1)
        yield _COLOUR(f"palette{bits}", _changed(indices, palette=palette, NBITS=bits), variety, name, compare="scaled")


def _changed(
    name: str, change: Callable[[Any], None] | None = None, palette: Array | None = None, **options: Any
) -> bytes:
    """A file with a palette, or that is changed once it is written."""
    pixels = picture(name)
    source = {"height": HEIGHT, "width": WIDTH, "count": pixels.shape[2], "dtype": pixels.dtype, "compress": "DEFLATE"}

    def write(path: str) -> None:
        with (
            rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
            rasterio.open(path, "w", driver="GTiff", **source | options) as file,
        ):
            if palette is not None:  # once pixels are written, GDAL would put it into a file of its own
                file.write_colormap(1, {index: (*map(int, colour), 255) for index, colour in enumerate(palette)})
            file.write(np.moveaxis(pixels, -1, 0))
            if change:
                change(file)

    return written(".tif", write)


def copies_and_masks() -> Samples:
    """Overviews, internal masks, COG, georeference."""
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[4:, 3:] = True

    def overviews(file: Any) -> None:
        file.build_overviews([2, 4], rasterio.enums.Resampling.average)

    def masked(file: Any) -> None:
        file.write_mask(mask)

    def both(file: Any) -> None:
        masked(file)
        overviews(file)

    yield _PAGES("overviews", _changed("grey8", overviews), "reduced copies as pages", "grey8")
    yield _PAGES("overviews-rgb", _changed("rgb8", overviews), "reduced copies as pages", "rgb8")
    yield _PAGES("mask", _changed("rgb8", masked), "mask as a page", "rgb8")
    yield _PAGES("mask-overviews", _changed("grey8", both), "mask as a page", "grey8")
    for file, name in (("cog", "grey16"), ("cog-rgb", "rgb8"), ("cog-alpha", "rgba8")):
        data = gdal(".tif", "COG", picture(name), COMPRESS="DEFLATE", BLOCKSIZE=128, OVERVIEW_COUNT=2)
        yield _PAGES(file, data, "cloud-optimized (COG)", name)
    place = {"crs": "EPSG:32633", "transform": rasterio.Affine(0.5, 0, 500_000, 0, -0.5, 5_800_000)}
    yield _GEO("georeferenced", _changed("grey16", **place), "georeferenced", "grey16")
    data = _changed("stains4-16bit", nodata=0, **place)
    yield _GEO("nodata", data, "several bands with nodata", "stains4-16bit")
