"""JPEG: colours, subsampling, scans, Exif, second pictures, rare kinds."""

import cv2
import imagecodecs
import numpy as np
from imageio import v3 as imageio
from PIL import Image

from ..pictures import picture
from .arrays import bgr, gdal, pillow, saved, simpleitk, squeezed, turned, vips
from .sample import GDAL, LIBVIPS, Kept, Samples, by

_FULL, _HALF, _QUARTER = "YCbCr 4:4:4", "YCbCr 4:2:2", "YCbCr 4:2:0"


def pillow_jpeg() -> Samples:
    """Subsampling, scans, CMYK, Exif, MPO."""
    add = Kept(by("pillow"), "JPEG", "pillow", ".jpg")
    for file, variety, name, compare, options in (
        ("grey", "grey", "grey8", "lossy 4", {}),
        ("444", _FULL, "rgb8", "lossy 4", {"subsampling": 0}),
        ("422", _HALF, "rgb8", "lossy 12", {"subsampling": 1}),
        ("420", _QUARTER, "rgb8", "lossy 16", {"subsampling": 2}),
        ("rgb", "RGB", "rgb8", "lossy 4", {"keep_rgb": True}),
        ("progressive", "progressive", "rgb8", "lossy 4", {"subsampling": 0, "progressive": True}),
        ("restarts", "restart markers", "grey8", "lossy 4", {"restart_marker_blocks": 2}),
    ):
        yield add(file, saved(pillow(name), "JPEG", quality=95, **options), variety, name, compare=compare)
    data = saved(pillow("cmyk8", "CMYK"), "JPEG", quality=95)
    yield add("cmyk", data, "CMYK", "rgb-of-cmyk8", compare="lossy 6")
    exif = Image.Exif()
    for orientation in range(1, 9):
        exif[0x112] = orientation
        image = Image.fromarray(turned(picture("rgb8"), orientation))
        data = saved(image, "JPEG", quality=95, subsampling=0, exif=exif)
        yield add(f"exif{orientation}", data, "Exif orientation", "rgb8", compare="lossy 4")
    upside_down = pillow("rgb8").rotate(180)
    data = saved(pillow("rgb8"), "MPO", save_all=True, append_images=[upside_down], quality=95, subsampling=0)
    yield add("mpo", data, "second picture inside (MPO)", "rgb8", compare="lossy 4")


def other_jpeg() -> Samples:
    """By OpenCV, libvips, GDAL, SimpleITK, imageio and imagecodecs."""
    add = Kept(by("opencv-python-headless"), "JPEG", "opencv", ".jpg")
    yield add("grey", cv2.imencode(".jpg", bgr("grey8"))[1].tobytes(), "grey", "grey8", compare="lossy 4")
    yield add("420", cv2.imencode(".jpg", bgr("rgb8"))[1].tobytes(), _QUARTER, "rgb8", compare="lossy 16")
    data = cv2.imencode(".jpg", bgr("rgb8"), [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[1].tobytes()
    yield add("progressive", data, "progressive", "rgb8", compare="lossy 16")
    add = Kept(LIBVIPS, "JPEG", "libvips", ".jpg")
    for file, variety, name, picture_name, options in (
        ("444", _FULL, "rgb8", "rgb8", {}),
        ("progressive", "progressive", "rgb8", "rgb8", {"interlace": True, "trellis_quant": True}),
        ("cmyk", "CMYK", "cmyk8", "rgb-of-cmyk8", {}),
    ):
        data = vips(name).jpegsave_buffer(Q=95, subsample_mode="off", **options)
        yield add(file, data, variety, picture_name, compare="lossy 6")
    add = Kept(GDAL, "JPEG", "gdal", ".jpg")
    yield add("grey", gdal(".jpg", "JPEG", picture("grey8"), QUALITY=95), "grey", "grey8", compare="lossy 4")
    yield add("420", gdal(".jpg", "JPEG", picture("rgb8"), QUALITY=95), _QUARTER, "rgb8", compare="lossy 16")
    add = Kept(by("SimpleITK"), "JPEG", "simpleitk", ".jpg")
    for name, variety in (("grey8", "grey"), ("rgb8", _QUARTER)):
        data = simpleitk(".jpg", squeezed(name), colours=name == "rgb8", io_name="JPEGImageIO")
        yield add(name, data, variety, name, compare="lossy 16")
    add = Kept(by("imageio"), "JPEG", "imageio", ".jpg")
    data = imageio.imwrite("<bytes>", picture("rgb8"), extension=".jpg")
    yield add("420", data, _QUARTER, "rgb8", compare="lossy 24")


def imagecodecs_jpeg() -> Samples:
    """A gain map, and kinds that Pillow does not decode."""
    add = Kept(by("imagecodecs"), "JPEG", "imagecodecs", ".jpg")
    data = imagecodecs.jpeg8_encode(picture("rgb8"), level=95, subsampling="444")
    yield add("444", data, _FULL, "rgb8", compare="lossy 4")
    light = (picture("rgb8") / 255.0) ** 2.2
    data = imagecodecs.ultrahdr_encode(
        np.concatenate([light, np.ones_like(light[..., :1])], 2).astype(np.float16), level=95
    )
    yield add("gain-map", data, "gain map (Ultra HDR)", kind="RGB", says="more pictures")
    data = imagecodecs.jpeg8_encode(squeezed("grey8"), lossless=True)
    yield add.refused("lossless", data, "lossless", "JPEG of the rare kind")
    data = imagecodecs.jpeg8_encode(squeezed("grey12"), level=95, bitspersample=12)
    yield add.refused("12-bits", data, "12 bits", "JPEG of the rare kind")
