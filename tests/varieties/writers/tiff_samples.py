"""TIFF by tifffile: types of samples, byte order, strips, tiles, planes of colours, channels, colours."""

import io

import numpy as np
import tifffile

from .. import pictures
from ..pictures import HEIGHT, WIDTH, Array, picture
from .arrays import channels_first, squeezed, with_nan
from .sample import Kept, Sample, Samples, bits_of, by
from .tiff_files import tiff

_WRITER = by("tifffile")
_COLOURS = Kept(_WRITER, "TIFF: colours", "tifffile", ".tif")
_WHITE = "WhiteIsZero"


def types() -> Samples:
    """Types of samples."""
    add = Kept(_WRITER, "TIFF: samples and layout", "tifffile", ".tif")
    for kind, widths in (("grey", (8, 16, 32, 64)), ("int", (8, 16, 32, 64)), ("float", (16, 32, 64))):
        for name in (f"{kind}{bits}" for bits in widths):
            yield add(name, tiff(squeezed(name), compression="deflate"), bits_of(name), name)
    for name, bits, compare in (("grey2", 2, "scaled"), ("grey4", 4, "scaled"), ("grey12", 12, "exact")):
        yield add(name, tiff(squeezed(name), bitspersample=bits), f"{bits} bits", name, compare=compare)
    yield add("bilevel", tiff(squeezed("bilevel")), "1 bit", "bilevel", compare="scaled")
    yield add("grey12-in-16", tiff(squeezed("grey12")), "12 bits in 16", "grey12")


def layout() -> Samples:
    """Byte order, BigTIFF, strips, tiles."""
    add = Kept(_WRITER, "TIFF: samples and layout", "tifffile", ".tif")
    for file, variety, options in (
        ("big-endian", "big-endian", {"byteorder": ">"}),
        ("bigtiff", "BigTIFF", {"bigtiff": True}),
        ("bigtiff-big-endian", "BigTIFF", {"bigtiff": True, "byteorder": ">"}),
        ("strips", "strips", {"rowsperstrip": 5}),
        ("tiles", "tiles", {"tile": (16, 16)}),
        ("large-tile", "tiles", {"tile": (64, 64), "compression": "deflate"}),
    ):
        yield add(file, tiff(squeezed("grey16"), **options), variety, "grey16")
    planar = {"photometric": "rgb", "planarconfig": "separate"}
    variety = "planes of colours (planar separate)"
    yield add("planar", tiff(channels_first("rgb8"), **planar), variety, "rgb8")
    yield add("planar-tiles", tiff(channels_first("rgb8"), **planar, tile=(16, 16)), variety, "rgb8")
    stored = iter([tile if index in (0, 3, 4, 5) else None for index, tile in enumerate(_tiles(picture("sparse")))])
    yield add("sparse", tiff(stored, shape=(HEIGHT, WIDTH), dtype="u1", tile=(16, 16)), "missing tiles", "sparse")


def _tiles(pixels: Array) -> list[Array]:
    """Six tiles of 16×16."""
    padded = np.zeros((32, 48), pixels.dtype)
    padded[:HEIGHT, :WIDTH] = pixels[..., 0]
    return [np.ascontiguousarray(padded[y : y + 16, x : x + 16]) for y in (0, 16) for x in (0, 16, 32)]


def channels() -> Samples:
    """Samples that are neither colours nor alpha."""
    add = Kept(_WRITER, "TIFF: channels", "tifffile", ".tif")
    grey = {"photometric": "minisblack", "compression": "deflate"}
    data = tiff(channels_first("stains5-16bit"), **grey, planarconfig="separate")
    yield add("planar-stains", data, "extra samples, planar", "stains5-16bit")
    data = tiff(picture("stains3-16bit"), **grey, planarconfig="contig")
    yield add("stains", data, "extra samples", "stains3-16bit")
    data = tiff(picture("stains2"), photometric="minisblack", planarconfig="contig")
    yield add("two-stains", data, "extra samples", "stains2")


def white_is_zero() -> Samples:
    """White is 0, of every type."""
    white = {"photometric": "miniswhite", "compression": "deflate"}
    for name, stored in (
        ("grey8", 255 - squeezed("grey8")), ("grey16", 65535 - squeezed("grey16")), ("int16", ~squeezed("int16")),
    ):  # fmt: skip
        variety = f"{_WHITE}, {bits_of(name)}"
        yield _COLOURS(f"white-{name}", tiff(stored, **white), variety, name, says=_WHITE)
    data = tiff(15 - squeezed("grey4"), photometric="miniswhite", bitspersample=4)
    yield _COLOURS("white-grey4", data, f"{_WHITE}, 4 bits", "grey4", compare="scaled", says=_WHITE)
    yield _COLOURS.refused("white-float32", tiff(1 - squeezed("float32"), **white), f"{_WHITE}, float", _WHITE)
    # Without a photometric, tifffile writes True as 1 and calls it black: its own array is the negative of the file.
    stream = io.BytesIO()
    tifffile.imwrite(stream, squeezed("bilevel"))
    variety = f"{_WHITE}, 1 bit, of a bool array"
    yield _COLOURS("bool", stream.getvalue(), variety, "bilevel-negative", compare="scaled", says=_WHITE)


def colours() -> Samples:
    """RGB, alpha, CMYK, CIELab, values out of the ordinary, orientation."""
    deflate = {"compression": "deflate"}
    yield _COLOURS("rgb8", tiff(picture("rgb8")), "RGB, 8 bits", "rgb8")
    yield _COLOURS("rgb16", tiff(picture("rgb16"), **deflate), "RGB, 16 bits", "rgb16")
    yield _COLOURS("rgbfloat32", tiff(picture("rgbfloat32"), **deflate), "RGB, float", "rgbfloat32")
    alpha = {"extrasamples": ["unassalpha"], "planarconfig": "contig", **deflate}
    yield _COLOURS("rgba8", tiff(picture("rgba8"), **alpha), "RGB with alpha", "rgba8")
    data = tiff(picture("la16"), photometric="minisblack", **alpha)
    yield _COLOURS("la16", data, "grey with alpha", "la16")
    data = tiff(picture("cmyk8"), photometric="separated", **deflate)
    yield _COLOURS("cmyk8", data, "CMYK", "rgb-of-cmyk8", compare="lossy 1")
    yield _COLOURS.refused("cielab", tiff(picture("rgb8"), photometric="cielab", **deflate), "CIELab", "L*a*b*")
    for orientation in range(1, 9):
        data = tiff(squeezed("grey8"), extratags=[(274, 3, 1, orientation, True)], **deflate)
        says = "rientation" if orientation > 1 else ""
        yield _COLOURS(f"orientation{orientation}", data, "orientation tag", "grey8", says=says)
    data = tiff(with_nan("float32"), **deflate)
    yield _COLOURS.refused("nan", data, "float with NaN", "nan_as_background", "NonFiniteImage")
    data = tiff(squeezed("float64") * 100, **deflate)
    yield _COLOURS("negative-background", data, "float, negative background", "float64", compare="scaled")
    yield _COLOURS("constant", tiff(squeezed("constant"), **deflate), "constant", "constant")
    raw = [(50706, 1, 4, (1, 4, 0, 0), True), (33421, 3, 2, (2, 2), True), (33422, 1, 4, (0, 1, 1, 2), True)]
    data = tiff(squeezed("grey8"), photometric=32803, extratags=raw, metadata=None, **deflate)
    yield Kept(_WRITER, "TIFF: colours", "tifffile").refused("camera.dng", data, "camera raw (DNG)", "raw")


def palettes() -> Samples:
    """Palettes of 8, 4 bits and 1 bit."""
    wide = np.zeros((3, 256), np.uint16)
    wide[:, :16] = pictures.COLOURS.T.astype(np.uint16) * 257
    data = tiff(pictures.INDEX4, photometric="palette", colormap=wide)
    yield _COLOURS("palette8", data, "palette, 8 bits", "colours16-16bit", compare="scaled")
    yield _palette(4, pictures.INDEX4, pictures.COLOURS, "colours16-16bit")
    yield _palette(1, pictures.INDEX1.astype(bool), pictures.TWO_COLOURS, "colours2-16bit")


def _palette(bits: int, index: Array, palette: Array, name: str) -> Sample:
    """A palette of fewer than 256 colours: written as grey, then the tag of its colour space is changed."""
    values = (palette.T.astype(np.uint16) * 257).ravel()
    tag = (320, 3, values.size, values.tolist(), True)
    stream = io.BytesIO(tiff(index, bitspersample=bits, extratags=[tag]))
    with tifffile.TiffFile(stream, mode="r+") as file:
        file.pages.first.tags["PhotometricInterpretation"].overwrite(3)
        data = stream.getvalue()
    variety = f"palette, {bits} bit" + "s" * (bits > 1)
    return _COLOURS(f"palette{bits}", data, variety, name, compare="scaled")
