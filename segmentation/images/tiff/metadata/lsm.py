"""Zeiss LSM: the lengths of T and Z and the size of a voxel; channels are the samples of a page."""

import struct

from ....errors import NotAnImage
from ..decoding import PlaneSource
from ..directory import LSM_INFO
from ..pages import Pages
from ..scene import Scene
from .units import pixel_size_of

_MAGIC = (0x00300494C, 0x00400494C)
#: Magic number, length, X, Y, Z, channels, T; the voxel's width and height in metres; the kind of scan.
_HEADER, _VOXEL, _SCAN, _COLOURS = struct.Struct("<I6i"), struct.Struct("<2d"), struct.Struct("<H"), 108
_VOXEL_AT, _SCAN_AT = 40, 88
#: Kinds of scan whose pages are images of x and y, and their axes.
_AXES = {0: "Z", 3: "T", 6: "TZ", 7: "TZ"}
_MAX_NAME = 256
_NONE = 1


def read(data: bytes, pages: Pages, name: str) -> list[Scene] | None:
    """The image or stack; its thumbnails are marked as reduced copies. Raises `NotAnImage` if it is compressed."""
    page = pages.full[0]
    info = page.values(data, LSM_INFO).tobytes()
    if len(info) < _COLOURS + 4:
        return None
    magic, _, _, _, slices, channels, frames = _HEADER.unpack_from(info)
    if magic not in _MAGIC:
        return None
    if page.compression != _NONE:  # its tags give the lengths of strips before compression
        raise NotAnImage(f"{name}: a compressed Zeiss LSM, which maskq does not read; save it as OME-TIFF with Fiji")
    axes = _AXES.get(_SCAN.unpack_from(info, _SCAN_AT)[0], "I")
    shape = tuple({"Z": slices, "T": frames, "I": len(pages.full)}[axis] for axis in axes)
    if _product(shape) != len(pages.full):  # positions and tiles have no axis of their own here
        axes, shape = "I", (len(pages.full),)
    width, height = _VOXEL.unpack_from(info, _VOXEL_AT)
    planes = tuple(PlaneSource(page) for page in pages.full)
    names = _names(info, data) if channels == page.samples else ()
    return [Scene(axes, shape, planes, names, pixel_size_of(height, width, "m"), separate=page.samples > 1)]


def _product(shape: tuple[int, ...]) -> int:
    product = 1
    for length in shape:
        product *= max(length, 0)
    return product


def _names(info: bytes, data: bytes) -> tuple[str, ...]:
    """The names of the channels: each follows its length."""
    try:
        (start,) = struct.unpack_from("<I", info, _COLOURS)
        _, _, count, _, offset = struct.unpack_from("<5i", data, start)
        names, place = [], start + offset
        for _ in range(min(count, 64)):
            (length,) = struct.unpack_from("<I", data, place)
            text = data[place + 4 : place + 4 + min(length, _MAX_NAME)]
            names.append(text.split(b"\0")[0].decode("utf-8", "replace"))
            place += 4 + length
    except struct.error:
        return ()
    return tuple(names)
