"""PNG."""

import io

import cv2
import imagecodecs
import numpy as np
import png
import skimage.io
from imageio import v3 as imageio
from PIL import Image

from .. import pictures
from ..pictures import HEIGHT, WIDTH, picture, planes
from .arrays import bgr, gdal, pillow, saved, simpleitk, squeezed, turned, vips
from .sample import GDAL, LIBVIPS, Kept, Samples, by, written


def pillow_png() -> Samples:
    """Modes, palettes, transparency, Exif, animation."""
    add = Kept(by("pillow"), "PNG", "pillow", ".png")
    yield add("bilevel", saved(pillow("bilevel"), "PNG"), "grey, 1 bit", "bilevel", compare="scaled")
    for name, variety in (
        ("grey8", "grey, 8 bits"), ("grey16", "grey, 16 bits"), ("la8", "grey with alpha, 8 bits"),
        ("rgb8", "RGB, 8 bits"), ("rgba8", "RGB with alpha, 8 bits"),
    ):  # fmt: skip
        yield add(name, saved(pillow(name, "LA" if name == "la8" else None), "PNG"), variety, name)
    for bits, name in ((8, "colours16"), (4, "colours16"), (1, "colours2")):
        variety = f"palette, {bits} bit" + "s" * (bits > 1)
        yield add(f"palette{bits}", saved(pillow(name), "PNG", bits=bits), variety, name)
    alpha = bytes(255 - 10 * index for index in range(16))
    data = saved(pillow("colours16"), "PNG", transparency=alpha)
    yield add("palette-alpha", data, "palette with transparency", "colours16-alpha", kind="RGB and alpha")
    yield add("grey-key", saved(pillow("grey8"), "PNG", transparency=200), "grey with a transparent value", "grey8")
    exif = Image.Exif()
    for orientation in (3, 6):
        exif[0x112] = orientation
        data = saved(Image.fromarray(turned(picture("rgb8"), orientation)), "PNG", exif=exif)
        yield add(f"exif{orientation}", data, "Exif orientation", "rgb8")
    yield add("text", saved(pillow("rgb8"), "PNG", dpi=(300, 300)), "resolution, gamma", "rgb8")
    frames = [Image.fromarray(frame[..., 0]) for frame in planes("grey8", 3)]
    data = saved(frames[0], "PNG", save_all=True, append_images=frames[1:])
    yield add.refused("animated", data, "animated", "animated PNG", "MultiPageImage")


def pypng() -> Samples:
    """All depths of grey, 16-bit colour, interlacing."""
    add = Kept(by("pypng"), "PNG", "pypng", ".png")
    colours = [tuple(map(int, colour)) for colour in pictures.TWO_COLOURS]
    for file, variety, name, options in (
        ("grey1", "grey, 1 bit", "bilevel", {"bitdepth": 1}),
        ("grey2", "grey, 2 bits", "grey2", {"bitdepth": 2}),
        ("grey4", "grey, 4 bits", "grey4", {"bitdepth": 4}),
        ("grey4-interlaced", "interlaced", "grey4", {"bitdepth": 4, "interlace": True}),
        ("grey16", "grey, 16 bits", "grey16", {"bitdepth": 16}),
        ("la16", "grey with alpha, 16 bits", "la16", {"bitdepth": 16, "alpha": True}),
        ("rgb16", "RGB, 16 bits", "rgb16", {"bitdepth": 16}),
        ("rgba16", "RGB with alpha, 16 bits", "rgba16", {"bitdepth": 16, "alpha": True}),
        ("rgb8-interlaced", "interlaced", "rgb8", {"interlace": True}),
        ("rgb16-interlaced", "interlaced", "rgb16", {"bitdepth": 16, "interlace": True}),
        ("rgb8-key", "RGB with a transparent colour", "rgb8", {"transparent": (10, 20, 30)}),
        ("rgb8-gamma", "resolution, gamma", "rgb8", {"gamma": 0.45}),
        ("palette2", "palette, 2 bits", "colours2", {"bitdepth": 2, "palette": colours}),
    ):
        rows = pictures.INDEX1 if name == "colours2" else picture(name).astype(int).reshape(HEIGHT, -1)
        grey = not name.startswith(("rgb", "colours"))
        stream = io.BytesIO()
        png.Writer(WIDTH, HEIGHT, greyscale=grey, **options).write(stream, rows.tolist())
        compare = "scaled" if name in ("bilevel", "grey2", "grey4") else "exact"
        yield add(file, stream.getvalue(), variety, name, compare=compare)


def opencv_png() -> Samples:
    """Depths and colours."""
    add = Kept(by("opencv-python-headless"), "PNG", "opencv", ".png")
    for name, variety in (
        ("grey8", "grey, 8 bits"), ("grey16", "grey, 16 bits"), ("rgb8", "RGB, 8 bits"), ("rgb16", "RGB, 16 bits"),
        ("rgba8", "RGB with alpha, 8 bits"),
    ):  # fmt: skip
        yield add(name, cv2.imencode(".png", bgr(name))[1].tobytes(), variety, name)
    data = cv2.imencode(".png", squeezed("bilevel").astype(np.uint8) * 255, [cv2.IMWRITE_PNG_BILEVEL, 1])[1].tobytes()
    yield add("bilevel", data, "grey, 1 bit", "bilevel", compare="scaled")


def other_png() -> Samples:
    """By libvips, GDAL, SimpleITK, imageio, scikit-image and imagecodecs."""
    add = Kept(LIBVIPS, "PNG", "libvips", ".png")
    yield add("interlaced", vips("grey8").pngsave_buffer(interlace=True), "interlaced", "grey8")
    yield add("la16", vips("la16").pngsave_buffer(), "grey with alpha, 16 bits", "la16")
    data = vips("colours16").pngsave_buffer(palette=True, Q=100, dither=0)
    yield add("palette", data, "palette, 4 bits", "colours16", compare="lossy 2")
    add = Kept(GDAL, "PNG", "gdal", ".png")
    yield add("grey16", gdal(".png", "PNG", picture("grey16")), "grey, 16 bits", "grey16")
    yield add("la8", gdal(".png", "PNG", picture("la8")), "grey with alpha, 8 bits", "la8")
    add = Kept(by("SimpleITK"), "PNG", "simpleitk", ".png")
    yield add("grey16", simpleitk(".png", squeezed("grey16")), "grey, 16 bits", "grey16")
    yield add("rgb8", simpleitk(".png", picture("rgb8"), colours=True), "RGB, 8 bits", "rgb8")
    add = Kept(by("imageio"), "PNG", "imageio", ".png")
    yield add("rgb8", imageio.imwrite("<bytes>", picture("rgb8"), extension=".png"), "RGB, 8 bits", "rgb8")
    add = Kept(by("scikit-image"), "PNG", "skimage", ".png")
    data = written(".png", lambda path: skimage.io.imsave(path, squeezed("grey16"), check_contrast=False))
    yield add("grey16", data, "grey, 16 bits", "grey16")
    add = Kept(by("imagecodecs"), "PNG", "imagecodecs", ".png")
    yield add("rgba16", imagecodecs.png_encode(picture("rgba16")), "RGB with alpha, 16 bits", "rgba16")
    data = imagecodecs.apng_encode(planes("rgb8", 3))
    yield add.refused("animated", data, "animated", "animated PNG", "MultiPageImage")
