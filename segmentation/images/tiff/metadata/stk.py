"""MetaMorph STK: one page, and the number of planes in the tag UIC2."""

import struct

import numpy as np

from ..directory import UIC1, UIC2, Directory
from ..pages import Pages
from ..scene import PixelSize, Scene, planes_behind
from .units import pixel_size_of

#: UIC2 has six integers for each plane: the z distance as a fraction, and date and time of creation and modification.
_INTEGERS = 6
#: Numbers of entries of UIC1: width and height of a pixel, and their unit.
_WIDTH, _HEIGHT, _UNIT = 4, 5, 6
_MAX_UNIT = 64


def read(data: bytes, pages: Pages, name: str) -> list[Scene] | None:
    """The stack. Raises `TruncatedImage` if planes are missing."""
    page = pages.full[0]
    entry = page.index.get(UIC2)
    if entry is None or len(pages.full) > 1 or page.depth > 1:
        return None
    count = entry[2]
    planes = planes_behind(page, count, data, name)
    return [Scene(_axis(page, data, count), (count,), planes, pixel_size=_pixel_size(page, data))]


def _axis(page: Directory, data: bytes, count: int) -> str:
    """Z if all planes have a distance to the next, T if all have another time of creation, otherwise I."""
    start = page.place(UIC2)
    if start is None or start + 4 * _INTEGERS * count > len(data):
        return "I"
    table = np.frombuffer(data, page.layout.word[0] + "u4", _INTEGERS * count, start).reshape(count, _INTEGERS)
    if table[:, 0].all():
        return "Z"
    return "T" if (np.diff(table[:, 3].astype(np.int64)) != 0).all() else "I"


def _pixel_size(page: Directory, data: bytes) -> PixelSize | None:
    """From UIC1: pairs of an entry's number, and its value or the value's offset."""
    entry = page.index.get(UIC1)
    start = page.place(UIC1)
    if entry is None or start is None or entry[1] != 4:
        return None
    word = page.layout.word[0] + "I"
    try:
        pairs = dict(struct.iter_unpack(word[0] + "2I", data[start : start + 8 * entry[2]]))
        height, width = (_fraction(data, pairs[number], word[0]) for number in (_HEIGHT, _WIDTH))
        (length,) = struct.unpack_from(word, data, pairs[_UNIT])
    except (struct.error, KeyError):
        return None
    unit = data[pairs[_UNIT] + 4 : pairs[_UNIT] + 4 + min(length, _MAX_UNIT)]
    return pixel_size_of(height, width, unit.split(b"\0")[0].decode("utf-8", "replace"))


def _fraction(data: bytes, offset: int, order: str) -> float:
    numerator, denominator = struct.unpack_from(order + "2I", data, offset)
    return numerator / denominator if denominator else 0.0
