"""TIFF by Pillow, libvips, OpenCV, SimpleITK, bioio, imageio and scikit-image."""

from typing import Any

import bioio_ome_tiff.writers
import cv2
import numpy as np
import pyvips
import skimage.io
from bioio_base.types import PhysicalPixelSizes
from imageio import v3 as imageio
from PIL import Image

from ..pictures import HEIGHT, Array, picture
from .arrays import bgr, channels_first, hyperstack, pillow, saved, simpleitk, squeezed, stack, vips
from .sample import LIBVIPS, Kept, Sample, Samples, by, written

_LAYOUT, _COMPRESSION, _COLOUR = "TIFF: samples and layout", "TIFF: compressions", "TIFF: colours"
_PAGES, _OME = "TIFF: pages", "TIFF: OME-TIFF"
_WHITE = "WhiteIsZero"


def pillow_layout() -> Samples:
    """Depths, compressions, fax, pages."""
    add = Kept(by("pillow"), _LAYOUT, "pillow", ".tif")
    yield add("grey8", saved(pillow("grey8"), "TIFF"), "8 bits", "grey8")
    yield add("grey16", saved(pillow("grey16"), "TIFF"), "16 bits", "grey16")
    yield add("bilevel", saved(pillow("bilevel"), "TIFF"), "1 bit", "bilevel", compare="scaled")
    yield add("bigtiff", saved(pillow("grey8"), "TIFF", big_tiff=True), "BigTIFF", "grey8")
    data = saved(pillow("bilevel"), "TIFF", compression="group4", tiffinfo={266: 2})
    yield add("fill-order", data, "bits from the lowest (FillOrder 2)", "bilevel", compare="scaled")
    add = Kept(by("pillow"), _COMPRESSION, "pillow", ".tif")
    for code, variety in (("tiff_ccitt", "CCITT RLE"), ("group3", "CCITT fax 3"), ("group4", "CCITT fax 4")):
        yield add(code, saved(pillow("bilevel"), "TIFF", compression=code), variety, "bilevel", compare="scaled")
    for code, variety in (
        ("tiff_lzw", "LZW"), ("tiff_adobe_deflate", "deflate"), ("packbits", "PackBits"), ("zstd", "Zstandard"),
        ("lzma", "LZMA"),
    ):  # fmt: skip
        yield add(code, saved(pillow("grey8"), "TIFF", compression=code), variety, "grey8")
    data = saved(pillow("rgb8"), "TIFF", compression="jpeg", quality=95)
    yield add("jpeg", data, "JPEG, YCbCr", "rgb8", compare="lossy 16")
    data = saved(pillow("rgb8"), "TIFF", compression="tiff_lzw", tiffinfo={317: 2})
    yield add("lzw-predictor", data, "predictor 2", "rgb8")
    frames = [Image.fromarray(frame) for frame in stack("grey8", 3)]
    data = saved(frames[0], "TIFF", save_all=True, append_images=frames[1:])
    yield Kept(by("pillow"), _PAGES, "pillow", ".tif")("pages", data, "pages of one size", "grey8", axes="?=3")


def pillow_colours() -> Samples:
    """Alpha, palette, CMYK, colour spaces, orientation."""
    add = Kept(by("pillow"), _COLOUR, "pillow", ".tif")
    lzw = {"compression": "tiff_lzw"}
    yield add("la8", saved(pillow("la8", "LA"), "TIFF"), "grey with alpha", "la8")
    yield add("rgb8", saved(pillow("rgb8"), "TIFF"), "RGB, 8 bits", "rgb8")
    yield add("rgba8", saved(pillow("rgba8"), "TIFF", **lzw), "RGB with alpha", "rgba8")
    data = saved(pillow("colours16"), "TIFF")
    yield add("palette8", data, "palette, 8 bits", "colours16-16bit", compare="scaled")
    yield add("cmyk8", saved(pillow("cmyk8", "CMYK"), "TIFF", **lzw), "CMYK", "rgb-of-cmyk8", compare="lossy 1")
    yield add("white", saved(pillow("grey8"), "TIFF", tiffinfo={262: 0}), f"{_WHITE}, 8 bits", "grey8", says=_WHITE)
    data = saved(pillow("grey8"), "TIFF", tiffinfo={274: 6})
    yield add("orientation6", data, "orientation tag", "grey8", says="rientation")
    yield add.refused("ycbcr", saved(pillow("rgb8").convert("YCbCr"), "TIFF"), "YCbCr without JPEG", "YCbCr")
    yield add.refused("lab", saved(pillow("rgb8", "LAB"), "TIFF"), "CIELab", "L*a*b*")


def libvips_layout() -> Samples:
    """Pyramids, compressions, depths."""
    add = Kept(LIBVIPS, _PAGES, "libvips", ".tif")
    tiled = {"tile": True, "tile_width": 16, "tile_height": 16}
    pyramid = {**tiled, "pyramid": True, "compression": "deflate"}
    yield add("pyramid", vips("grey8").tiffsave_buffer(**pyramid), "reduced copies as pages", "grey8")
    data = vips("rgb8").tiffsave_buffer(**pyramid, subifd=True)
    yield add("pyramid-subifd", data, "pyramid in SubIFDs", "rgb8")
    roll = pyvips.Image.new_from_array(np.concatenate(list(stack("grey8", 3)))).copy()
    roll.set_type(pyvips.GValue.gint_type, "page-height", HEIGHT)
    yield add("pages", roll.tiffsave_buffer(compression="deflate"), "pages of one size", "grey8", axes="?=3")
    add = Kept(LIBVIPS, _COMPRESSION, "libvips", ".tif")
    for file, variety, name, compare, options in (
        ("lzw", "LZW", "rgb8", "exact", {"compression": "lzw"}),
        ("packbits", "PackBits", "grey8", "exact", {"compression": "packbits"}),
        ("webp", "WebP", "rgb8", "exact", {**tiled, "compression": "webp", "lossless": True}),
        ("jpeg", "JPEG, YCbCr", "rgb8", "lossy 16", {**tiled, "compression": "jpeg", "Q": 95}),
        ("jpeg-420", "JPEG, YCbCr", "rgb8", "lossy 20", {**tiled, "compression": "jpeg", "Q": 85}),
        ("fax4", "CCITT fax 4", "bilevel", "scaled", {"bitdepth": 1, "compression": "ccittfax4"}),
        ("predictor2", "predictor 2", "rgb16", "exact", {"compression": "lzw", "predictor": "horizontal"}),
        ("predictor3", "predictor 3", "float32", "exact", {"compression": "deflate", "predictor": "float"}),
    ):
        yield add(file, vips(name).tiffsave_buffer(**options), variety, name, compare=compare)
    add = Kept(LIBVIPS, _LAYOUT, "libvips", ".tif")
    for bits in (2, 4):
        data = vips("grey8").tiffsave_buffer(bitdepth=bits)
        yield add(f"bits{bits}", data, f"{bits} bits", f"grey{bits}", compare="scaled")
    yield add("bigtiff", vips("grey8").tiffsave_buffer(bigtiff=True), "BigTIFF", "grey8")


def libvips_colours() -> Samples:
    """RGB, alpha, CMYK, CIELab, WhiteIsZero."""
    add = Kept(LIBVIPS, _COLOUR, "libvips", ".tif")
    deflate = {"compression": "deflate"}
    yield add("rgb16", vips("rgb16").tiffsave_buffer(**deflate), "RGB, 16 bits", "rgb16")
    yield add("rgba8", vips("rgba8").tiffsave_buffer(**deflate), "RGB with alpha", "rgba8")
    yield add("cmyk8", vips("cmyk8").tiffsave_buffer(**deflate), "CMYK", "rgb-of-cmyk8", compare="lossy 1")
    yield add.refused("cielab", vips("rgb8").colourspace("lab").tiffsave_buffer(**deflate), "CIELab", "L*a*b*")
    data = vips("bilevel").tiffsave_buffer(bitdepth=1, miniswhite=True)
    yield add("white", data, f"{_WHITE}, 1 bit", "bilevel", compare="scaled", says=_WHITE)


def opencv() -> Samples:
    """Depths, colours, pages, compressions."""
    deflate, packbits, jpeg = (
        (cv2.IMWRITE_TIFF_COMPRESSION, code)
        for code in (
            cv2.IMWRITE_TIFF_COMPRESSION_ADOBE_DEFLATE,
            cv2.IMWRITE_TIFF_COMPRESSION_PACKBITS,
            cv2.IMWRITE_TIFF_COMPRESSION_JPEG,
        )
    )
    for file, name, group, variety, options in (
        ("grey8", "grey8", _LAYOUT, "8 bits", ()), ("grey16", "grey16", _LAYOUT, "16 bits", ()),
        ("int16", "int16", _LAYOUT, "16 bits, signed", ()), ("float64", "float64", _LAYOUT, "64 bits, float", deflate),
        ("rgb8", "rgb8", _COLOUR, "RGB, 8 bits", ()), ("rgb16", "rgb16", _COLOUR, "RGB, 16 bits", ()),
        ("rgba8", "rgba8", _COLOUR, "RGB with alpha", ()), ("rgbfloat32", "rgbfloat32", _COLOUR, "RGB, float", deflate),
        ("deflate", "grey8", _COMPRESSION, "deflate", deflate),
        ("packbits", "grey8", _COMPRESSION, "PackBits", packbits),
        ("jpeg", "rgb8", _COMPRESSION, "JPEG, YCbCr", jpeg),
    ):  # fmt: skip
        add = Kept(by("opencv-python-headless"), group, "opencv", ".tif")
        data = cv2.imencode(".tif", bgr(name), list(options))[1].tobytes()
        yield add(file, data, variety, name, compare="lossy 16" if file == "jpeg" else "exact")
    frames = [np.ascontiguousarray(frame) for frame in stack("grey16", 3)]
    data = written(".tif", lambda path: cv2.imwritemulti(path, frames))
    add = Kept(by("opencv-python-headless"), _PAGES, "opencv", ".tif")
    yield add("pages", data, "pages of one size", "grey16", axes="?=3")


def science() -> Samples:
    """SimpleITK, imageio and scikit-image."""
    writer = by("SimpleITK")
    for name, group, variety in (
        ("grey16", _LAYOUT, "16 bits"), ("float32", _LAYOUT, "32 bits, float"), ("rgb8", _COLOUR, "RGB, 8 bits"),
    ):  # fmt: skip
        data = simpleitk(".tif", squeezed(name), colours=name == "rgb8")
        yield Kept(writer, group, "simpleitk", ".tif")(name, data, variety, name)
    data = simpleitk(".tif", stack("grey16", 3), compressed=True)
    yield Kept(writer, _PAGES, "simpleitk", ".tif")("volume", data, "pages of one size", "grey16", axes="?=3")
    add = Kept(by("imageio"), _LAYOUT, "imageio", ".tif")
    yield add("grey16", imageio.imwrite("<bytes>", squeezed("grey16"), extension=".tif"), "16 bits", "grey16")
    add = Kept(by("imageio"), _PAGES, "imageio", ".tif")
    data = imageio.imwrite("<bytes>", stack("grey8", 5), extension=".tif")
    yield add("stack", data, "stack of tifffile", "grey8", axes="?=5")
    # Given three planes, imageio writes RGB: no reader can know better.
    data = imageio.imwrite("<bytes>", stack("grey8", 3), extension=".tif")
    yield add("three-planes", data, "three planes that the writer calls RGB", "planes-as-rgb")
    data = written(".tif", lambda path: skimage.io.imsave(path, squeezed("float16"), check_contrast=False))
    yield Kept(by("scikit-image"), _LAYOUT, "skimage", ".tif")("float16", data, "16 bits, float", "float16")


def bioio() -> Samples:
    """OME-TIFF."""
    names = {"channel_names": ["DAPI", "actin"]}
    sizes = {"physical_pixel_sizes": PhysicalPixelSizes(1.0, 0.5, 0.25)}
    size = {"pixel_size": "0.5 0.25"}
    orders = "stack with channels, several orders"
    yield _bioio("grey", squeezed("grey16"), "YX", "one image", "grey16", sizes, **size)
    yield _bioio("rgb", picture("rgb8"), "YXS", "RGB", "rgb8", {})
    stains = channels_first("stains2-16bit")
    yield _bioio("c", stains, "CYX", "channels", "stains2-16bit", names, names="DAPI;actin")
    yield _bioio("z", stack("grey8", 3), "ZYX", "stack", "grey8", sizes, axes="Z=3", **size)
    tzc = hyperstack()
    yield _bioio("tzc", tzc, "TZCYX", orders, "stains2", names, axes="T=2 Z=3", names="DAPI;actin")
    yield _bioio("tcz", np.moveaxis(tzc, 2, 1), "TCZYX", orders, "stains2", {}, axes="T=2 Z=3")


def _bioio(
    file: str, pixels: Array, order: str, variety: str, name: str, options: dict[str, Any], **right: str
) -> Sample:
    save = bioio_ome_tiff.writers.OmeTiffWriter.save
    data = written(".ome.tif", lambda path: save(np.ascontiguousarray(pixels), path, dim_order=order, **options))
    return Kept(by("bioio-ome-tiff"), _OME, "bioio", ".tif")(file, data, variety, name, **right)
