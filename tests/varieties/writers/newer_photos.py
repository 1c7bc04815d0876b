"""WebP, JPEG 2000, JPEG XL, AVIF, HEIC, JPEG XR and JPEG-LS."""

import cv2
import imagecodecs
import pillow_heif
import pillow_jxl  # noqa: F401 (Pillow's plug-in for JPEG XL)
from PIL import Image

from ..pictures import picture, planes
from .arrays import bgr, gdal, pillow, saved, squeezed, turned, vips
from .sample import GDAL, LIBVIPS, Kept, Samples, by

_NEWER = "JPEG 2000, JPEG XL and newer"


def webp() -> Samples:
    """Lossy, lossless, with alpha, animated."""
    add = Kept(by("pillow"), "WebP", "pillow", ".webp")
    yield add("lossy", saved(pillow("rgb8"), "WEBP", quality=95), "lossy", "rgb8", compare="lossy 16")
    yield add("lossless", saved(pillow("rgb8"), "WEBP", lossless=True), "lossless", "rgb8")
    yield add("alpha", saved(pillow("rgba8"), "WEBP", lossless=True), "lossless with alpha", "rgba8")
    exif = Image.Exif()
    exif[0x112] = 6
    data = saved(Image.fromarray(turned(picture("rgb8"), 6)), "WEBP", lossless=True, exif=exif)
    yield add("exif6", data, "Exif orientation", "rgb8")
    frames = [Image.fromarray(frame) for frame in planes("rgb8", 3)]
    data = saved(frames[0], "WEBP", save_all=True, append_images=frames[1:], lossless=True)
    yield add.refused("animated", data, "animated", "animated WebP", "MultiPageImage")
    add = Kept(by("opencv-python-headless"), "WebP", "opencv", ".webp")
    for file, quality, compare in (("lossy", 95, "lossy 16"), ("lossless", 101, "exact")):
        data = cv2.imencode(".webp", bgr("rgb8"), [cv2.IMWRITE_WEBP_QUALITY, quality])[1].tobytes()
        yield add(file, data, file, "rgb8", compare=compare)
    add = Kept(LIBVIPS, "WebP", "libvips", ".webp")
    yield add("alpha-lossy", vips("rgba8").webpsave_buffer(Q=95), "lossy with alpha", "rgba8", compare="lossy 16")
    data = vips("grey8").webpsave_buffer(lossless=True)
    yield add("grey", data, "lossless, grey", "grey8-as-rgb", kind="RGB")
    add = Kept(GDAL, "WebP", "gdal", ".webp")
    yield add("lossless", gdal(".webp", "WEBP", picture("rgb8"), LOSSLESS="YES"), "lossless", "rgb8")
    add = Kept(by("imagecodecs"), "WebP", "imagecodecs", ".webp")
    yield add("alpha", imagecodecs.webp_encode(picture("rgba8"), lossless=True), "lossless with alpha", "rgba8")


def jpeg2000() -> Samples:
    """Files and code streams."""
    jp2, stream = "JPEG 2000 (jp2)", "JPEG 2000 (code stream)"
    add = Kept(by("pillow"), _NEWER, "pillow")
    yield add("grey8.jp2", saved(pillow("grey8"), "JPEG2000"), jp2, "grey8")
    yield add("grey16.jp2", saved(pillow("grey16"), "JPEG2000"), jp2, "grey16")
    yield add("rgb8.j2k", saved(pillow("rgb8"), "JPEG2000", no_jp2=True), stream, "rgb8")
    add = Kept(GDAL, _NEWER, "gdal")
    data = gdal(".jp2", "JP2OpenJPEG", picture("rgb8"), REVERSIBLE="YES", QUALITY=100)
    yield add("rgb8.jp2", data, jp2, "rgb8")
    add = Kept(by("imagecodecs"), _NEWER, "imagecodecs")
    coded = imagecodecs.jpeg2k_encode(squeezed("grey16"), reversible=True, level=0, codecformat="j2k")
    yield add("grey16.j2k", coded, stream, "grey16")


def jpeg_xl() -> Samples:
    """Code streams and a container."""
    add = Kept(by("pillow-jxl-plugin"), _NEWER, "pillow")
    yield add("rgb8.jxl", saved(pillow("rgb8"), "JXL", lossless=True), "JPEG XL", "rgb8")
    add = Kept(by("imagecodecs"), _NEWER, "imagecodecs")
    yield add("rgb8.jxl", imagecodecs.jpegxl_encode(picture("rgb8"), level=95), "JPEG XL", "rgb8", compare="lossy 12")
    yield add("grey16.jxl", imagecodecs.jpegxl_encode(squeezed("grey16"), lossless=True), "JPEG XL", "grey16")
    data = imagecodecs.jpegxl_encode(squeezed("grey8"), lossless=True, usecontainer=True)
    yield add("container.jxl", data, "JPEG XL (container)", "grey8")


def not_read() -> Samples:
    """AVIF, HEIC, JPEG XR and JPEG-LS."""
    add = Kept(by("pillow"), _NEWER, "pillow")
    yield add.refused("rgb8.avif", saved(pillow("rgb8"), "AVIF", quality=95), "AVIF", "AVIF")
    add = Kept(LIBVIPS, _NEWER, "libvips")
    yield add.refused("rgb8.avif", vips("rgb8").heifsave_buffer(compression="av1"), "AVIF", "AVIF")
    add = Kept(by("imagecodecs"), _NEWER, "imagecodecs")
    yield add.refused("rgb8.jxr", imagecodecs.jpegxr_encode(picture("rgb8"), level=1.0), "JPEG XR", "JPEG XR")
    yield add.refused("grey8.jls", imagecodecs.jpegls_encode(squeezed("grey8")), "JPEG-LS", "JPEG-LS")
    pillow_heif.register_heif_opener()
    add = Kept(by("pillow-heif"), _NEWER, "pillow-heif")
    yield add.refused("rgb8.heic", saved(pillow("rgb8"), "HEIF", quality=95), "HEIC", "HEIC")
