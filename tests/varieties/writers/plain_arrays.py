"""NumPy arrays, and PBM, PGM and PPM."""

import io

import cv2
import numpy as np

from ..pictures import Array, picture
from .arrays import bgr, channels_first, gdal, pillow, saved, squeezed, stack, with_nan
from .sample import GDAL, Kept, Samples, by


def npy() -> Samples:
    """Types, byte order, memory order, axes."""
    add = Kept(by("numpy"), "NumPy", "numpy")
    kinds = {"g": "unsigned", "i": "signed", "f": "float", "b": "bool"}
    for name in ("grey8", "grey16", "grey32", "int16", "float16", "float32", "bilevel"):
        yield add(f"{name}.npy", _npy(squeezed(name)), f"(H, W), {kinds[name[0]]}", name)
    yield add("big-endian.npy", _npy(squeezed("grey16").astype(">u2")), "(H, W), big-endian", "grey16")
    yield add("fortran.npy", _npy(np.asfortranarray(squeezed("grey16"))), "(H, W), Fortran order", "grey16")
    yield add("one-channel.npy", _npy(picture("grey8")), "(H, W, 1)", "grey8")
    yield add("rgb8.npy", _npy(picture("rgb8")), "(H, W, 3)", "rgb8")
    yield add("rgba8.npy", _npy(picture("rgba8")), "(H, W, 4)", "rgba8")
    for file, pixels, variety in (
        ("two-channels", picture("stains2"), "(H, W, 2)"), ("channels-first", channels_first("rgb8"), "(3, H, W)"),
        ("planes", stack("grey8", 5), "(planes, H, W)"),
    ):  # fmt: skip
        yield add.refused(f"{file}.npy", _npy(pixels), variety, "option `axes`")
    yield add.refused("nan.npy", _npy(with_nan("float32")), "NaN", "NaN", "NonFiniteImage")
    stream = io.BytesIO()
    np.savez_compressed(stream, image=squeezed("grey8"))
    yield add.refused("archive.npz", stream.getvalue(), "archive (npz)", "npz")


def _npy(pixels: Array) -> bytes:
    stream = io.BytesIO()
    np.save(stream, pixels)
    return stream.getvalue()


def pnm() -> Samples:
    """Grey, RGB and 1 bit; binary and text."""
    group = "PBM, PGM, PPM"
    add = Kept(by("pillow"), group, "pillow")
    yield add("grey8.pgm", saved(pillow("grey8"), "PPM"), "PGM, 8 bits", "grey8")
    yield add("rgb8.ppm", saved(pillow("rgb8"), "PPM"), "PPM, 8 bits", "rgb8")
    yield add.refused("bilevel.pbm", saved(pillow("bilevel"), "PPM"), "PBM", "PBM")
    add = Kept(GDAL, group, "gdal")
    yield add("grey16.pgm", gdal(".pgm", "PNM", picture("grey16")), "PGM, 16 bits", "grey16")
    add = Kept(by("opencv-python-headless"), group, "opencv")
    yield add("rgb16.ppm", cv2.imencode(".ppm", bgr("rgb16"))[1].tobytes(), "PPM, 16 bits", "rgb16")
    text = cv2.imencode(".pgm", bgr("grey8"), [cv2.IMWRITE_PXM_BINARY, 0])[1].tobytes()
    yield add.refused("grey8.pgm", text, "PGM as text", "PGM")
