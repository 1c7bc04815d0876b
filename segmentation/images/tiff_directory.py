"""The checked tags of a TIFF's first page, and a copy of the file without all others.

This comes before tifffile, which multiplies values even if they are tuples, follows pages without end, and turns a tag
of sixteen million values into as many Python numbers, whether it is needed or not.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from ..errors import TruncatedImage
from .checks import EXIF_ORIENTATION

MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
WIDTH, HEIGHT, COMPRESSION, PHOTOMETRIC, SAMPLES, PLANAR, DEPTH = 256, 257, 259, 262, 277, 284, 32997
_TILE_WIDTH, _TILE_HEIGHT, _TILE_DEPTH = 322, 323, 32998
_FILL_ORDER, _ROWS_PER_STRIP, _T4_OPTIONS, _T6_OPTIONS, _PREDICTOR = 266, 278, 292, 293, 317
#: Tags of one integer.
_SINGLE = frozenset({
    WIDTH, HEIGHT, COMPRESSION, PHOTOMETRIC, SAMPLES, PLANAR, DEPTH, _TILE_WIDTH, _TILE_HEIGHT, _TILE_DEPTH,
    _FILL_ORDER, _ROWS_PER_STRIP, _T4_OPTIONS, _T6_OPTIONS, _PREDICTOR, EXIF_ORIENTATION,
})  # fmt: skip
#: Tags of several values → the maximum number of values: bits, extra kinds and formats of the samples, a palette, the
#: offsets and lengths of strips and of tiles, the tables of JPEG, its chroma subsampling.
_SEVERAL = {
    258: 64, 338: 64, 339: 64, 320: 3 << 16,
    273: 1 << 20, 279: 1 << 20, 324: 1 << 20, 325: 1 << 20,
    347: 1 << 16, 530: 2,
}  # fmt: skip
_MAX_TAGS = 4096
_INTEGERS = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q"}
#: Bytes of a value, by its kind: integers, and the text and undefined bytes of JPEG tables.
_SIZES = {kind: struct.calcsize("<" + code) for kind, code in _INTEGERS.items()} | {2: 1, 7: 1}

#: A tag's number, the kind and count of its values, and the values or their offset in the file.
_Entry: TypeAlias = tuple[int, int, int, bytes]


@dataclass(frozen=True)
class Directory:
    """The first directory of a TIFF."""

    #: The tags of one integer.
    tags: Mapping[int, int]
    #: Whether another page follows.
    has_next: bool
    #: The file reduced to the first page and the tags that pixels depend on.
    stripped: io.BytesIO


@dataclass(frozen=True)
class _Layout:
    """The number formats of TIFF or BigTIFF, as `struct` formats; each begins with the byte order."""

    word: str
    count: str
    entry: str
    #: Offset of the header's field that holds the directory's offset.
    pointer: int

    @classmethod
    def of(cls, data: bytes) -> _Layout:
        order = "<" if data[:1] == b"I" else ">"
        if b"+" in data[2:4]:
            return cls(order + "Q", order + "Q", order + "HHQ8s", 8)
        return cls(order + "I", order + "H", order + "HHI4s", 4)


def read_directory(data: bytes, name: str) -> Directory:
    """The first directory of a TIFF or BigTIFF. Raises `TruncatedImage`, or `struct.error` at the file's end."""
    layout = _Layout.of(data)
    (start,) = struct.unpack_from(layout.word, data, layout.pointer)
    (count,) = struct.unpack_from(layout.count, data, start)
    if count > _MAX_TAGS:
        raise TruncatedImage(f"{name}: damaged: a TIFF of {count:,} tags, more than {_MAX_TAGS:,}")
    begin = start + struct.calcsize(layout.count)
    end = begin + count * struct.calcsize(layout.entry)
    (next_page,) = struct.unpack_from(layout.word, data, end)
    entries = list(_checked_entries(struct.iter_unpack(layout.entry, data[begin:end]), layout, len(data), name))
    tags = {
        tag: struct.unpack_from(layout.word[0] + _INTEGERS[kind], raw)[0]
        for tag, kind, _, raw in entries
        if tag in _SINGLE
    }
    return Directory(tags, next_page != 0, _stripped(data, start, layout, entries))


def _checked_entries(entries: Iterator[_Entry], layout: _Layout, size: int, name: str) -> Iterator[_Entry]:
    """The entries that pixels depend on. Raises `TruncatedImage` if one is invalid."""
    seen = set()
    for tag, kind, values, raw in entries:
        if tag in _SINGLE and (tag in seen or values != 1 or kind not in _INTEGERS):
            raise TruncatedImage(f"{name}: damaged: its TIFF tag {tag} is not one integer")
        if tag in _SEVERAL:
            if tag in seen or kind not in _SIZES or not 0 < values <= _SEVERAL[tag]:
                raise TruncatedImage(f"{name}: damaged: its TIFF tag {tag} is not 1 to {_SEVERAL[tag]:,} integers")
            length = values * _SIZES[kind]
            if length > len(raw) and struct.unpack(layout.word, raw)[0] + length > size:
                raise TruncatedImage(f"{name}: cut short: its TIFF tag {tag} stands beyond the end")
        if tag in _SINGLE or tag in _SEVERAL:
            seen.add(tag)
            yield tag, kind, values, raw


def _stripped(data: bytes, start: int, layout: _Layout, entries: list[_Entry]) -> io.BytesIO:
    """A copy of the file whose directory has only these entries and no next page."""
    stream = io.BytesIO(data)
    stream.seek(start)
    stream.write(struct.pack(layout.count, len(entries)))
    stream.writelines(struct.pack(layout.entry, *entry) for entry in entries)
    stream.write(struct.pack(layout.word, 0))
    stream.seek(0)
    return stream
