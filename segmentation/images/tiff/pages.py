"""The pages of a TIFF: which are images, and which are reduced copies and masks of them."""

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ...errors import MultiPageImage, TruncatedImage
from .colours import MASK
from .directory import (
    HEIGHT,
    OLD_SUBFILE_TYPE,
    STRIP_OFFSETS,
    SUB_DIRECTORIES,
    SUBFILE_TYPE,
    TILE_OFFSETS,
    VALUE_SIZES,
    WIDTH,
    Directory,
    Layout,
    read_directory,
)

_MAX_PAGES = 1 << 16
#: Tags, strips and tiles of all pages together: directories may share bytes, so a small file could have any number.
_MAX_ALL_TAGS, _MAX_ALL_SEGMENTS = 1 << 20, 1 << 22
_REDUCED, _IS_MASK, _OLD_REDUCED = 1, 4, 2
#: Bytes at a file's end that are not pixels of a page whose directory is missing.
_PADDING = 16
_STRAY = "The TIFF announces another page, which is not there; its only page was read."


@dataclass(frozen=True)
class Pages:
    """The pages of a file."""

    #: All, in the file's order.
    chain: tuple[Directory, ...]
    #: Images in full size, in the file's order; at least one.
    full: tuple[Directory, ...]
    #: Reduced copies of images.
    reduced: tuple[Directory, ...]
    #: What a user may want to know.
    notes: tuple[str, ...] = ()


def read_pages(data: bytes, name: str) -> Pages:
    """The pages of a TIFF, by tag 254, which marks reduced copies and masks.

    If only reduced copies follow each other, the images are in subdirectories, or else the largest pages are taken.
    Raises `TruncatedImage`, and `MultiPageImage` for pages that run in a circle or are too many.
    """
    chain, is_broken = _walk(data, Layout.of(data), name)
    if len(chain) == 1 and not is_broken:
        return Pages(chain, _full_of_one(chain[0], data, name), ())
    full, reduced = [], []
    for page in chain:
        kind = _kind(page, data)
        if kind & _REDUCED:
            reduced.append(page)
        elif not kind & _IS_MASK and page.photometric != MASK:
            full.append(page)
    if not full:
        full = _in_subdirectories(chain, data, name) or [max(chain, key=_area)]
        reduced = [page for page in reduced if page is not full[0]]
    if is_broken and (len(full) > 1 or len(data) > max(_end(page, data) for page in chain) + _PADDING):
        raise TruncatedImage(
            f"{name}: cut short: its page {len(chain) + 1} is damaged or beyond the end; copy or save it again"
        )
    return Pages(chain, tuple(full), tuple(reduced), (_STRAY,) if is_broken else ())


def subdirectories(pages: Iterable[Directory], data: bytes, name: str) -> Iterator[tuple[Directory, ...]]:
    """Of each page, the directories that its tag 330 names, without those that are damaged.

    Raises `MultiPageImage` if they have too many tags in all.
    """
    tags = 0
    for page in pages:
        found = []
        for offset in page.values(data, SUB_DIRECTORIES).tolist():
            try:
                directory = read_directory(data, page.layout, offset, name)
            except (struct.error, TruncatedImage):
                continue
            tags += directory.count
            if tags > _MAX_ALL_TAGS:
                raise MultiPageImage(f"{name}: a TIFF of more than {_MAX_ALL_TAGS:,} tags; save it anew")
            if _is_page(directory):
                found.append(directory)
        yield tuple(found)


def _walk(data: bytes, layout: Layout, name: str) -> tuple[tuple[Directory, ...], bool]:
    """All pages, and whether the last one announces another that is not there."""
    pages = [read_directory(data, layout, layout.first(data), name)]
    seen, tags, segments = {pages[0].offset}, pages[0].count, pages[0].segments
    while following := pages[-1].next:
        if following in seen:
            raise MultiPageImage(f"{name}: damaged: the pages of the TIFF follow each other in a circle; save it anew")
        try:
            page = read_directory(data, layout, following, name)
        except (struct.error, TruncatedImage):
            return tuple(pages), True
        if not _is_page(page):
            return tuple(pages), True
        pages.append(page)
        seen.add(following)
        tags += page.count
        segments += page.segments
        if len(pages) > _MAX_PAGES or tags > _MAX_ALL_TAGS:
            raise MultiPageImage(
                f"{name}: a TIFF of more than {_MAX_PAGES:,} pages or {_MAX_ALL_TAGS:,} tags; send it in parts"
            )
        if segments > _MAX_ALL_SEGMENTS:
            raise MultiPageImage(f"{name}: pages of more than {_MAX_ALL_SEGMENTS:,} strips and tiles; send them apart")
    return tuple(pages), False


def _end(page: Directory, data: bytes) -> int:
    """Where the page ends in the file: its directory, the values of its tags, and its strips or tiles."""
    begin = page.offset + struct.calcsize(page.layout.count)
    end = begin + page.count * struct.calcsize(page.layout.entry)
    ends = [end + struct.calcsize(page.layout.word), page.pixels_end(data)]
    for _, kind, count, raw in struct.iter_unpack(page.layout.entry, data[begin:end]):
        if (length := VALUE_SIZES.get(kind, 1) * count) > len(raw):
            ends.append(struct.unpack(page.layout.word, raw)[0] + length)
    return max(ends)


def _is_page(directory: Directory) -> bool:
    index = directory.index
    return WIDTH in index and HEIGHT in index and (STRIP_OFFSETS in index or TILE_OFFSETS in index)


def _kind(page: Directory, data: bytes) -> int:
    """The bits of tag 254, or what they would be by tag 255, which came before it."""
    old = _REDUCED if page.number(data, OLD_SUBFILE_TYPE) == _OLD_REDUCED else 0
    return page.number(data, SUBFILE_TYPE) | old


def _full_of_one(page: Directory, data: bytes, name: str) -> tuple[Directory, ...]:
    if _kind(page, data) & _REDUCED and (full := _in_subdirectories((page,), data, name)):
        return tuple(full)
    return (page,)


def _in_subdirectories(chain: tuple[Directory, ...], data: bytes, name: str) -> list[Directory]:
    """The images in subdirectories of pages that are all reduced copies."""
    return [
        directory
        for found in subdirectories(chain, data, name)
        for directory in found
        if not _kind(directory, data) & (_REDUCED | _IS_MASK)
    ]


def _area(page: Directory) -> int:
    return page.size[0] * page.size[1]
