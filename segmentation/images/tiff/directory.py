"""A TIFF's directories: the checked tags of a page.

This comes before tifffile, which multiplies values even if they are tuples, follows pages without end, and turns a tag
of sixteen million values into as many Python numbers, whether it is needed or not.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ...errors import TruncatedImage
from ..checks import EXIF_ORIENTATION

MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, SAMPLES, PLANAR, DEPTH = 256, 257, 258, 259, 262, 277, 284, 32997
STRIP_OFFSETS, STRIP_COUNTS, TILE_OFFSETS, TILE_COUNTS, ROWS_PER_STRIP = 273, 279, 324, 325, 278
TILE_WIDTH, TILE_HEIGHT, TILE_DEPTH = 322, 323, 32998
COLOUR_MAP, EXTRA_SAMPLES, SAMPLE_FORMAT, INK_SET, ORIENTATION = 320, 338, 339, 332, EXIF_ORIENTATION
SUBFILE_TYPE, OLD_SUBFILE_TYPE, DESCRIPTION, SUB_DIRECTORIES, SOFTWARE = 254, 255, 270, 330, 305
X_RESOLUTION, Y_RESOLUTION, RESOLUTION_UNIT = 282, 283, 296
UIC1, UIC2, LSM_INFO, IMAGEJ_COUNTS, IMAGEJ, DNG_VERSION = 33628, 33629, 34412, 50838, 50839, 50706
NDPI_VERSION, NDPI_MAGNIFICATION, MICRO_MANAGER, NO_DATA = 65420, 65421, 51123, 42113
FILL_ORDER, PREDICTOR, _T4_OPTIONS, _T6_OPTIONS = 266, 317, 292, 293
#: Tags of one integer that pixels depend on.
_SINGLE = frozenset({
    WIDTH, HEIGHT, COMPRESSION, PHOTOMETRIC, SAMPLES, PLANAR, DEPTH, TILE_WIDTH, TILE_HEIGHT, TILE_DEPTH,
    FILL_ORDER, ROWS_PER_STRIP, _T4_OPTIONS, _T6_OPTIONS, PREDICTOR, EXIF_ORIENTATION,
})  # fmt: skip
#: Tags of several values that pixels depend on → the maximum number of values: bits, extra kinds and formats of the
#: samples, a palette, the offsets and lengths of strips and of tiles, the tables of JPEG, its chroma subsampling.
_SEVERAL = {
    BITS: 64, EXTRA_SAMPLES: 64, SAMPLE_FORMAT: 64, COLOUR_MAP: 3 << 16,
    STRIP_OFFSETS: 1 << 20, STRIP_COUNTS: 1 << 20, TILE_OFFSETS: 1 << 20, TILE_COUNTS: 1 << 20,
    347: 1 << 16, 530: 2,
}  # fmt: skip
#: Tags of metadata → the maximum number of values. One that is larger or damaged is ignored: its page is still good.
_METADATA = {
    SUBFILE_TYPE: 1, OLD_SUBFILE_TYPE: 1, DESCRIPTION: 8 << 20, SUB_DIRECTORIES: 64, SOFTWARE: 1 << 10, INK_SET: 1,
    X_RESOLUTION: 1, Y_RESOLUTION: 1, RESOLUTION_UNIT: 1, UIC1: 1 << 16, UIC2: 1 << 16, LSM_INFO: 1 << 12,
    IMAGEJ_COUNTS: 1 << 16, IMAGEJ: 8 << 20, DNG_VERSION: 8, NDPI_VERSION: 1, NDPI_MAGNIFICATION: 1,
    MICRO_MANAGER: 1 << 20, NO_DATA: 64,
}  # fmt: skip
_MAX_TAGS = 4096
_INTEGERS = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q"}
#: NumPy's code of a value, by its kind; a rational number is two integers.
_CODES = {1: "u1", 2: "u1", 3: "u2", 4: "u4", 5: "u4", 7: "u1", 10: "i4", 11: "f4", 12: "f8", 13: "u4", 16: "u8"}
#: Bytes of a value, by its kind: integers, and the text and undefined bytes of JPEG tables.
_SIZES = {kind: struct.calcsize("<" + code) for kind, code in _INTEGERS.items()} | {2: 1, 7: 1}
#: Bytes of a value of any kind.
VALUE_SIZES = _SIZES | {5: 8, 6: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 17: 8, 18: 8}

_NONE: NDArray[Any] = np.empty(0, np.uint8)
#: A tag's number, the kind and count of its values, and the values or their offset in the file.
Entry: TypeAlias = tuple[int, int, int, bytes]
_NO_ENTRY: Entry = (0, 1, 0, b"")


@dataclass(frozen=True)
class Layout:
    """The number formats of TIFF or BigTIFF, as `struct` formats; each begins with the byte order."""

    word: str
    count: str
    entry: str
    #: Offset of the header's field that holds the first directory's offset.
    pointer: int

    @classmethod
    def of(cls, data: bytes) -> Layout:
        """The layout that a file's first four bytes name."""
        order = "<" if data[:1] == b"I" else ">"
        if b"+" in data[2:4]:
            return cls(order + "Q", order + "Q", order + "HHQ8s", 8)
        return cls(order + "I", order + "H", order + "HHI4s", 4)

    def first(self, data: bytes) -> int:
        """The offset of the first directory."""
        return int(struct.unpack_from(self.word, data, self.pointer)[0])


@dataclass(frozen=True)
class Directory:
    """One directory: a page, or a reduced copy of one."""

    layout: Layout
    #: Its own offset in the file, and that of the next page; 0 if there is none.
    offset: int
    next: int
    #: The tags that pixels depend on, in the file's order; those of one integer also by number.
    entries: tuple[Entry, ...]
    tags: Mapping[int, int]
    #: These tags, and those of metadata, by number.
    index: Mapping[int, Entry]
    #: The descriptions: some programs write two.
    descriptions: tuple[Entry, ...]
    #: The number of all tags.
    count: int

    @property
    def size(self) -> tuple[int, int]:
        """Height and width, pixels."""
        return self.tags.get(HEIGHT, 0), self.tags.get(WIDTH, 0)

    @property
    def samples(self) -> int:
        """Samples per pixel."""
        return self.tags.get(SAMPLES, 1)

    @property
    def photometric(self) -> int:
        """What the samples mean, by the TIFF's number; BlackIsZero if nothing says."""
        return self.tags.get(PHOTOMETRIC, 1)

    @property
    def compression(self) -> int:
        """The compression's number in TIFF."""
        return self.tags.get(COMPRESSION, 1)

    @property
    def depth(self) -> int:
        """Planes in this one page (ImageDepth)."""
        return self.tags.get(DEPTH, 1)

    @property
    def segments(self) -> int:
        """The number of offsets of strips and tiles."""
        return self.index.get(STRIP_OFFSETS, _NO_ENTRY)[2] + self.index.get(TILE_OFFSETS, _NO_ENTRY)[2]

    def with_numbers(self, numbers: Mapping[int, int]) -> Directory:
        """The directory with these tags of one integer each, added or changed."""
        word = self.layout.word
        kind = 16 if word[1] == "Q" else 4
        index = dict(self.index) | {tag: (tag, kind, 1, struct.pack(word, n)) for tag, n in numbers.items()}
        entries = tuple(entry for tag, entry in index.items() if tag in _SINGLE or tag in _SEVERAL)
        return replace(self, entries=entries, index=index, tags={**self.tags, **numbers})

    def values(self, data: bytes, tag: int) -> NDArray[Any]:
        """All values of a tag as a one-dimensional array; a rational number is two of them. Empty if it is missing."""
        entry = self.index.get(tag)
        return _NONE if entry is None else self._values(data, entry)

    def place(self, tag: int) -> int | None:
        """The offset of a tag's values in the file; None if they are in the directory itself, or the tag is missing."""
        _, kind, count, raw = self.index.get(tag, _NO_ENTRY)
        return int(struct.unpack(self.layout.word, raw)[0]) if count * VALUE_SIZES[kind] > len(raw) else None

    def pixels_end(self, data: bytes) -> int:
        """Where the last strip or tile ends in the file, whether the file is that long or not."""
        ends = [0]
        for starts, lengths in ((STRIP_OFFSETS, STRIP_COUNTS), (TILE_OFFSETS, TILE_COUNTS)):
            offsets, counts = self.values(data, starts), self.values(data, lengths)
            common = min(len(offsets), len(counts))
            if common:
                ends.append(int((offsets[:common].astype(np.float64) + counts[:common]).max()))
        return max(ends)

    def number(self, data: bytes, tag: int, default: int = 0) -> int:
        """The first value of a tag of metadata."""
        values = self.values(data, tag)
        return int(values[0]) if values.size else default

    def texts(self, data: bytes) -> tuple[str, ...]:
        """The descriptions as text."""
        return tuple(_text(self._values(data, entry).tobytes()) for entry in self.descriptions)

    def _values(self, data: bytes, entry: Entry) -> NDArray[Any]:
        _, kind, count, raw = entry
        length = count * VALUE_SIZES[kind]
        code = np.dtype(self.layout.word[0] + _CODES[kind])
        if length <= len(raw):
            return np.frombuffer(raw, code, length // code.itemsize)
        return np.frombuffer(data, code, length // code.itemsize, struct.unpack(self.layout.word, raw)[0])


def read_directory(data: bytes, layout: Layout, offset: int, name: str) -> Directory:
    """The directory at `offset`. Raises `TruncatedImage`, or `struct.error` at the file's end."""
    (count,) = struct.unpack_from(layout.count, data, offset)
    if count > _MAX_TAGS:
        raise TruncatedImage(f"{name}: damaged: a TIFF of {count:,} tags, more than {_MAX_TAGS:,}")
    begin = offset + struct.calcsize(layout.count)
    end = begin + count * struct.calcsize(layout.entry)
    (following,) = struct.unpack_from(layout.word, data, end)
    index: dict[int, Entry] = {}
    entries, descriptions = [], []
    for entry in struct.iter_unpack(layout.entry, data[begin:end]):
        tag = entry[0]
        if tag in _SINGLE or tag in _SEVERAL:
            _check_entry(entry, layout, len(data), name)
            if tag in index:
                raise TruncatedImage(f"{name}: damaged: its TIFF tag {tag} stands twice")
            entries.append(entry)
        elif tag not in _METADATA or not _is_sound(entry, layout, len(data)):
            continue
        elif tag == DESCRIPTION:
            descriptions.append(entry)
        index.setdefault(tag, entry)
    order = layout.word[0]
    tags = {tag: struct.unpack_from(order + _INTEGERS[kind], raw)[0] for tag, kind, _, raw in entries if tag in _SINGLE}
    return Directory(layout, offset, following, tuple(entries), tags, index, tuple(descriptions), count)


def _text(raw: bytes) -> str:
    """Text in UTF-8, or in Latin-1 as older programs write µ."""
    raw = raw.split(b"\0")[0]
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("latin1")


def _check_entry(entry: Entry, layout: Layout, size: int, name: str) -> None:
    """Raises `TruncatedImage` if a tag that pixels depend on is invalid."""
    tag, kind, values, raw = entry
    if tag in _SINGLE:
        if values != 1 or kind not in _INTEGERS:
            raise TruncatedImage(f"{name}: damaged: its TIFF tag {tag} is not one integer")
    elif kind not in _SIZES or not 0 < values <= _SEVERAL[tag]:
        raise TruncatedImage(f"{name}: damaged: its TIFF tag {tag} is not 1 to {_SEVERAL[tag]:,} integers")
    elif (length := values * _SIZES[kind]) > len(raw) and struct.unpack(layout.word, raw)[0] + length > size:
        raise TruncatedImage(f"{name}: cut short: its TIFF tag {tag} stands beyond the end")


def _is_sound(entry: Entry, layout: Layout, size: int) -> bool:
    """Whether a tag of metadata is within its limit and within the file."""
    tag, kind, count, raw = entry
    length = count * VALUE_SIZES.get(kind, 1)
    return (
        kind in _CODES
        and 0 < count <= _METADATA[tag]
        and (length <= len(raw) or struct.unpack(layout.word, raw)[0] + length <= size)
    )
