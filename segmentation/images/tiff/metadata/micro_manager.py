"""Micro-Manager's stacks: a table of (channel, slice, frame, position) and page, and a summary in JSON.

https://micro-manager.org/Micro-Manager_File_Formats
"""

import json
import struct
from typing import Any

import numpy as np

from ....errors import MultiPageImage
from ..decoding import PlaneSource
from ..pages import Pages
from ..scene import Scene
from ..uncompressed import MAX_PLANES
from .units import pixel_size_of

_TABLE_OFFSET, _TABLE, _SUMMARY = 54773648, 3453623, 2355492
_MAX_SUMMARY = 1 << 20
#: The columns of the table, and how the summary calls their lengths; R is a position of the stage, as in tifffile.
_COLUMNS = "CZTR"
_LENGTHS = {"C": "Channels", "Z": "Slices", "T": "Frames", "R": "Positions"}


def read(data: bytes, pages: Pages, name: str) -> list[Scene] | None:
    """The stack. Raises `MultiPageImage` if some of its planes are in other files, which Micro-Manager does."""
    order = pages.full[0].layout.word[0]
    if len(data) < 40 or struct.unpack_from(order + "I", data, 8)[0] != _TABLE_OFFSET:
        return None
    try:
        table, summary = _table(data, order), _summary(data, order)
    except (struct.error, ValueError):
        return None
    by_offset = {page.offset: page for page in pages.full}
    lengths = table[:, :4].max(axis=0) + 1 if len(table) else np.zeros(4, np.int64)
    claimed = np.array([_length(summary, axis) for axis in _COLUMNS])
    places = {tuple(row[:4]): by_offset.get(row[4]) for row in table.tolist()}
    count = int(np.prod(np.maximum(lengths, claimed), dtype=np.float64))
    if not places or any(page is None for page in places.values()):
        return None
    if len(places) < count:
        raise MultiPageImage(
            f"{name}: one file of a Micro-Manager data set, with {len(places):,} of {count:,} planes; save all planes "
            "in one file, such as with ImageJ"
        )
    axes = ("TR" if summary.get("TimeFirst", True) else "RT") + ("ZC" if summary.get("SlicesFirst", True) else "CZ")
    columns = [_COLUMNS.index(axis) for axis in axes]
    shape = tuple(int(lengths[column]) for column in columns)
    ordered = sorted(places, key=lambda place: [place[column] for column in columns])
    planes = tuple(PlaneSource(page) for place in ordered if (page := places[place]) is not None)
    size = summary.get("PixelSize_um")
    pixel_size = pixel_size_of(size, size, "µm") if isinstance(size, int | float) else None
    return [Scene(axes, shape, planes, _names(summary, int(lengths[0])), pixel_size)]


def _table(data: bytes, order: str) -> Any:
    """Rows of channel, slice, frame, position and offset."""
    (start,) = struct.unpack_from(order + "I", data, 12)
    magic, count = struct.unpack_from(order + "2I", data, start)
    if magic != _TABLE or count > MAX_PLANES:
        raise ValueError("no table")
    return np.frombuffer(data, order + "u4", 5 * count, start + 8).reshape(count, 5).astype(np.int64)


def _summary(data: bytes, order: str) -> dict[str, Any]:
    magic, length = struct.unpack_from(order + "2I", data, 32)
    if magic != _SUMMARY or length > _MAX_SUMMARY:
        return {}
    summary = json.loads(data[40 : 40 + length].split(b"\0")[0])
    return summary if isinstance(summary, dict) else {}


def _length(summary: dict[str, Any], axis: str) -> int:
    length = summary.get(_LENGTHS[axis], 1)
    return length if isinstance(length, int) else 1


def _names(summary: dict[str, Any], channels: int) -> tuple[str, ...]:
    names = summary.get("ChNames")
    if not isinstance(names, list) or len(names) < channels:
        return ()
    return tuple(str(name) for name in names[:channels])
