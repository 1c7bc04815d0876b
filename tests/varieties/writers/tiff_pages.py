"""TIFF by tifffile: pages, reduced copies, masks, thumbnails, SubIFDs, stacks in one directory, whole slides."""

import struct

import numpy as np

from ..pictures import HEIGHT, WIDTH, Array, picture, planes
from .arrays import squeezed, stack
from .sample import Kept, Samples, by
from .tiff_files import Options, pages, tiff

_ADD = Kept(by("tifffile"), "TIFF: pages", "tifffile", ".tif")
_REDUCED: Options = {"subfiletype": 1}
_TILED: Options = {"tile": (16, 16)}


def _part(pixels: Array, step: int) -> Array:
    return np.ascontiguousarray(pixels[::step, ::step])


def several() -> Samples:
    """Pages that are planes."""
    frames = stack("grey8", 3)
    yield _ADD("pages", pages(*((frame, {}) for frame in frames)), "pages of one size", "grey8", axes="?=3")
    data = pages(*((frame, {}) for frame in planes("rgb8", 3)))
    yield _ADD("rgb-pages", data, "pages of one size", "rgb8", axes="?=3")
    data = pages(*((frame, {"extratags": [(297, 3, 2, (i, 3), True)]}) for i, frame in enumerate(frames)))
    yield _ADD("page-numbers", data, "pages of one size", "grey8", axes="?=3")
    with_copies: list[tuple[Array, Options]] = []
    for frame in frames:
        with_copies += [(frame, {}), (_part(frame, 2), _REDUCED)]
    variety = "pages, each with a reduced copy"
    yield _ADD("stack-with-thumbnails", pages(*with_copies), variety, "grey8", axes="?=3")
    data = pages((frames[0], {}), (frames[0][:20], {}))
    yield _ADD.refused("pages-of-two-sizes", data, "pages of several sizes", "2 images", "MultiPageImage")
    broken = bytearray(pages((frames[0], {})))
    (start,) = struct.unpack_from("<I", broken, 4)
    (count,) = struct.unpack_from("<H", broken, start)
    struct.pack_into("<I", broken, start + 2 + 12 * count, 10**6)
    variety = "a next page beyond the end of the file"
    yield _ADD("next-page-nowhere", bytes(broken), variety, "grey8", says="another page")
    data = pages(*((np.ascontiguousarray(frame), {}) for frame in frames))[:-40]
    yield _ADD.refused("last-page-cut-off", data, "cut short within the last page", "cut short", "TruncatedImage")


def copies_and_masks() -> Samples:
    """Pages that are no images of their own."""
    grey, rgb = squeezed("grey8"), picture("rgb8")
    half, quarter = _part(grey, 2), _part(grey, 4)
    coloured = np.stack([quarter] * 3, -1)
    mask = grey > 20
    masked: Options = {"subfiletype": 4, "photometric": "mask"}
    old = [{"extratags": [(255, 3, 1, kind, True)]} for kind in (1, 2)]
    copies, thumbnail, masks = "reduced copies as pages", "thumbnail as a page", "mask as a page"
    yield _ADD("pyramid-pages", pages((grey, {}), (half, _REDUCED), (quarter, _REDUCED)), copies, "grey8")
    yield _ADD("old-subfiletype", pages((grey, old[0]), (half, old[1])), copies, "grey8")
    yield _ADD("thumbnail-last", pages((grey, {}), (coloured, _REDUCED)), thumbnail, "grey8")
    yield _ADD("thumbnail-first", pages((quarter, _REDUCED), (grey, {})), thumbnail, "grey8")
    data = pages((coloured, _REDUCED), (squeezed("grey16"), {}))
    yield _ADD("thumbnail-first-rgb", data, thumbnail, "grey16")
    yield _ADD("mask-page", pages((grey, {}), (mask, masked)), masks, "grey8")
    small_mask = (mask[::2, ::2], masked | {"subfiletype": 5})
    yield _ADD("mask-and-copies", pages((grey, {}), (mask, masked), (half, _REDUCED), small_mask), masks, "grey8")
    small = [(each, _REDUCED | _TILED) for each in (half, quarter)]
    yield _ADD("subifds", pages((grey, {"subifds": 2, **_TILED}), *small), "pyramid in SubIFDs", "grey8")
    data = pages((rgb, {"subifds": 1}), (_part(rgb, 2), _REDUCED))
    yield _ADD("subifds-rgb", data, "pyramid in SubIFDs", "rgb8")
    data = pages((quarter, {"subifds": 1, **_REDUCED}), (grey, {"subfiletype": 0}))
    yield _ADD("full-in-subifd", data, "thumbnail with the image in a SubIFD", "grey8")


def shaped() -> Samples:
    """Stacks that tifffile describes, and stacks in one directory."""
    frames = stack("grey8", 3)
    deflate = {"compression": "deflate", "photometric": "minisblack"}
    variety = "stack of tifffile"
    yield _ADD("shaped", tiff(frames, **deflate, metadata={"axes": "ZYX"}), variety, "grey8", axes="Z=3")
    data = tiff(stack("grey8", 6).reshape(2, 3, HEIGHT, WIDTH), **deflate, metadata={"axes": "TZYX"})
    yield _ADD("shaped-2d", data, variety, "grey8", axes="T=2 Z=3")
    yield _ADD("shaped-no-axes", tiff(frames, **deflate), variety, "grey8", axes="?=3")
    data = tiff(planes("rgb8", 2), compression="deflate", metadata={"axes": "TYXS"})
    yield _ADD("shaped-rgb", data, variety, "rgb8", axes="T=2")
    variety, grey = "stack in one directory", {"photometric": "minisblack", "truncate": True}
    yield _ADD("truncated", tiff(frames, **grey), variety, "grey8", axes="?=3")
    yield _ADD("truncated-axes", tiff(frames, **grey, metadata={"axes": "TYX"}), variety, "grey8", axes="T=3")
    data = tiff(frames, photometric="minisblack", volumetric=True, tile=(1, 16, 16))
    yield _ADD("volume", data, "volume (ImageDepth)", "grey8", axes="Z=3")


def slides() -> Samples:
    """Slides as scanners store them: levels without a mark, thumbnail, label and overview as pages."""
    add = Kept(by("tifffile"), "TIFF: whole slides", "tifffile")
    rgb = picture("rgb8")
    half, third, label = _part(rgb, 2), _part(rgb, 3), np.ascontiguousarray(rgb[:12, :16, ::-1])
    aperio = f"Aperio Image Library v11.2.1\r\n{WIDTH}x{HEIGHT} (16x16)|AppMag = 20|MPP = 0.5"
    data = pages(
        (rgb, {**_TILED, "description": aperio}), (third, {}), (half, _TILED), (label, {"subfiletype": 1}),
        (label[::-1], {"subfiletype": 9}),
    )  # fmt: skip
    yield add("aperio.svs", data, "Aperio SVS", "rgb8", pixel_size="0.5 0.5")
    lens = [{"extratags": [(65420, 4, 1, 1, True), (65421, 11, 1, power, True)]} for power in (20.0, 10.0, -1.0)]
    data = pages((rgb, lens[0]), (half, lens[1]), (label, lens[2]))
    yield add("hamamatsu.ndpi", data, "Hamamatsu NDPI", "rgb8")
    about = "<PerkinElmer-QPI-ImageDescription><Name>{}</Name></PerkinElmer-QPI-ImageDescription>"
    stains = [np.ascontiguousarray(picture("stains2")[..., channel]) for channel in range(2)]
    named = [
        (stain, {**_TILED, "description": about.format(name)})
        for stain, name in zip(stains, ("DAPI", "CD8"), strict=True)
    ]
    data = pages(*named, (third, {}), *((_part(stain, 2), {**_TILED, **_REDUCED}) for stain in stains))
    yield add("akoya.qptiff", data, "Akoya QPTIFF", "stains2", names="DAPI;CD8")
