"""Stacks in one directory: its page is the first plane, and the others stand behind it, without compression."""

from ...errors import NotAnImage, TruncatedImage
from .decoding import PlaneSource
from .directory import BITS, STRIP_COUNTS, STRIP_OFFSETS, TILE_OFFSETS, Directory

_WHOLE_BYTES = frozenset({8, 16, 32, 64})
_FILL_ORDER, _PREDICTOR = 266, 317


def planes_behind(page: Directory, count: int, data: bytes, name: str) -> tuple[PlaneSource, ...]:
    """The page's plane and those behind it, `count` in all.

    Raises `TruncatedImage` if the file is too short for them, and `NotAnImage` if the page is not stored in one piece.
    """
    bits = set(page.values(data, BITS).tolist()) or {1}
    offsets, lengths = page.values(data, STRIP_OFFSETS).tolist(), page.values(data, STRIP_COUNTS).tolist()
    in_one_piece = (
        page.compression == 1
        and len(bits) == 1
        and bits <= _WHOLE_BYTES
        and not page.values(data, TILE_OFFSETS).size
        and page.tags.get(_FILL_ORDER, 1) == 1
        and page.tags.get(_PREDICTOR, 1) == 1
        and len(offsets) > 0
        and len(offsets) == len(lengths)
        and all(start + length == end for start, length, end in zip(offsets, lengths, offsets[1:], strict=False))
    )
    if not in_one_piece:
        raise NotAnImage(
            f"{name}: a stack of {count:,} planes of which the TIFF has one page; save every plane as a page of its own"
        )
    size = page.size[0] * page.size[1] * page.samples * bits.pop() // 8
    if count > len(data) // max(size, 1) or offsets[0] + count * size > len(data):
        raise TruncatedImage(f"{name}: cut short: {len(data):,} bytes end before the last of {count:,} planes")
    return tuple(PlaneSource(page, following=index) for index in range(count))
