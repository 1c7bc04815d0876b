"""What ImageJ writes: the lengths of T, Z and C in the description, names of slices in a tag of its own."""

import re
import struct
from itertools import accumulate
from math import prod

from ....errors import TruncatedImage
from ..decoding import PlaneSource
from ..directory import IMAGEJ, IMAGEJ_COUNTS, X_RESOLUTION, Y_RESOLUTION, Directory
from ..pages import Pages
from ..scene import PixelSize, Scene, planes_behind
from .units import pixel_size_of

#: The order of the axes, slowest first, by ImageJ's name of the order, fastest first.
_ORDERS = {order: order[::-1].upper() for order in ("czt", "ctz", "zct", "ztc", "tcz", "tzc")}
_LENGTHS = {"T": "frames", "Z": "slices", "C": "channels"}
_MAX_PLANES = 1 << 24
_MAX_TEXT = 1 << 20
#: What comes before the name in labels such as `c:2/2 z:1/5 - DAPI`.
_POSITION = re.compile(r"(?:[czt]:[0-9]+/[0-9]+\s*)+(?:-\s*)?")


def read(data: bytes, pages: Pages, name: str) -> list[Scene] | None:
    """The hyperstack. Raises `TruncatedImage` if planes are missing."""
    page = pages.full[0]
    text = next((t for t in page.texts(data) if t.startswith(("ImageJ=", "SCIFIO=")) and len(t) <= _MAX_TEXT), None)
    if text is None or page.depth > 1:
        return None
    fields = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    axes, shape = _axes(fields, page.samples, len(pages.full))
    count = prod(shape)
    if not 0 < count <= _MAX_PLANES:
        return None
    if len(pages.full) == 1 and count > 1:
        planes = planes_behind(page, count, data, name)
    elif len(pages.full) == count:
        planes = tuple(PlaneSource(page) for page in pages.full)
    elif len(pages.full) < count:
        raise TruncatedImage(f"{name}: cut short: {len(pages.full)} of {count:,} planes; copy or save it again")
    else:
        return None
    names = _channel_names(page, data, axes, shape)
    return [Scene(axes, shape, planes, names, _pixel_size(fields, page, data))]


def _axes(fields: dict[str, str], samples: int, pages: int) -> tuple[str, tuple[int, ...]]:
    """The axes and their lengths. Planes that no axis accounts for are of the axis I."""
    axes = _ORDERS.get(fields.get("order", "czt").lower(), "TZC")
    lengths = {axis: _number(fields, key) for axis, key in _LENGTHS.items()}
    images = _number(fields, "images")
    if lengths["C"] == samples > 1 and prod(lengths.values()) != pages:
        lengths["C"] = 1  # Bio-Formats counts the samples of a pixel as channels
    count = prod(lengths.values())
    if count == 1 and images > 1:
        return "I", (images,)
    shape = tuple(lengths[axis] for axis in axes)
    if images > count > 0 and images % count == 0 and images == pages:
        return "I" + axes, (images // count, *shape)
    return axes, shape


def _number(fields: dict[str, str], key: str) -> int:
    text = fields.get(key, "1").strip()
    return int(text) if text.isdecimal() and len(text) < 10 else 1


def _pixel_size(fields: dict[str, str], page: Directory, data: bytes) -> PixelSize | None:
    """From the resolution tags, which count pixels per unit of the description."""
    size = []
    for tag in (Y_RESOLUTION, X_RESOLUTION):
        ratio = page.values(data, tag).tolist()
        if len(ratio) != 2 or not ratio[0] or not ratio[1]:
            return None
        size.append(ratio[1] / ratio[0])
    unit = fields.get("unit", "").strip()
    if "\\u" in unit:  # ImageJ writes µ as the six letters \u00B5
        unit = unit.replace("\\u00B5", "µ").replace("\\u00b5", "µ")
    return pixel_size_of(size[0], size[1], unit, fields.get("yunit", unit), unit)


def _channel_names(page: Directory, data: bytes, axes: str, shape: tuple[int, ...]) -> tuple[str, ...]:
    """The labels of the slices without their positions, if each channel has one and the same on all other axes."""
    channel = axes.find("C")
    if channel < 0 or shape[channel] == 1:
        return ()
    try:
        labels = _labels(page.values(data, IMAGEJ).tobytes(), page.values(data, IMAGEJ_COUNTS).tolist())
    except (struct.error, ValueError, UnicodeDecodeError):
        return ()
    if len(labels) != prod(shape):
        return ()
    inner, channels = prod(shape[channel + 1 :]), shape[channel]
    names = tuple(_POSITION.sub("", label) for label in labels)
    pairs = {(index // inner % channels, name) for index, name in enumerate(names)}
    found = tuple(name for _, name in sorted(pairs))
    return found if len(pairs) == channels == len(set(found)) and all(found) else ()


def _labels(block: bytes, counts: list[int]) -> tuple[str, ...]:
    """The texts of kind `labl` in ImageJ's block: a header that counts the pieces of each kind, then the pieces."""
    order = "<" if block[:4] == b"JIJI" else ">"
    if not counts or block[:4] not in (b"JIJI", b"IJIJ"):
        return ()
    header = struct.unpack_from(f"{order}{(counts[0] - 4) // 8 * 2}I", block, 4)
    start, index = counts[0], 1
    for kind, number in zip(header[::2], header[1::2], strict=True):
        lengths = counts[index : index + number]
        if kind == 0x6C61626C:  # labl
            text = "utf-16-le" if order == "<" else "utf-16-be"
            starts = accumulate(lengths[:-1], initial=start)
            return tuple(block[a : a + n].decode(text).strip() for a, n in zip(starts, lengths, strict=False))
        start, index = start + sum(lengths), index + number
    return ()
