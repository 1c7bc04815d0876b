"""Huge images in tiles: the very fields that the network gives of the whole, in the memory of a part.

A pixel's fields depend on nothing beyond the network's receptive field. So every tile answers for its *core* alone and
sees a *halo* that wide around it; at the image's border it ends where the padded image does, and the zeros beyond act
as they do on the whole. Cores begin at multiples of 8, as the network halves the image three times. The tiles of an
image all have one shape, for cudnn's search and for batches.

What is stitched are the fields, packed tile by tile; the clustering then runs once over all of them and knows no seam.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np

from ..arrays import Floats
from ..clustering.fields import Packer
from ..errors import ImageTooLarge
from .inference import Input, RunInput
from .preprocessing import pad
from .resampling import places, run_whole, sample
from .shape_buckets import STRIDE, aligned_shape, round_up

#: How far `network.BranchedERFNet` looks beyond the cells of 8×8 pixels in which its coarsest features lie, pixels:
#: 68 cells in the dilated blocks, 3 in the decoders, and 47 pixels, so 48, in the encoder before them.
HALO = 616
#: Pixels of the largest tile that the halo above makes necessary, whatever the bound.
_LEAST = (3 * HALO + STRIDE) ** 2
#: Fields that are resized are packed in strips of about this many pixels.
_STRIP = 1 << 20


@dataclass(frozen=True)
class Bounds:
    """What one image may take, in pixels of what the network sees."""

    #: At once: a larger image is seen in tiles of at most so many.
    tile_pixels: int = 20_000_000
    #: In all, where it is enlarged.
    max_pixels: int = 100_000_000


@dataclass(frozen=True)
class Span:
    """A tile along one side."""

    #: The pixels that it answers for.
    core: slice
    #: The pixels that the network sees; beyond the image these repeat its last row or column.
    seen: slice


def layout(size: tuple[int, int], halo: int, most: int) -> tuple[list[Span], list[Span]]:
    """The tiles of a (height, width) image along either side: of those with at most `most` pixels, the least work.

    The cores are no smaller than the halo on average, whatever `most` says: else nearly all of the work were halo.
    Raises `ImageTooLarge` where a wide halo makes a tile of more than twice `most`, or twice what `HALO` makes of it.
    """
    height, width = size
    down, right = aligned_shape(height, width)
    if down * right <= most:
        return [Span(slice(0, height), slice(0, down))], [Span(slice(0, width), slice(0, right))]
    halo = round_up(halo)

    def work(counts: tuple[int, int]) -> int:
        return counts[0] * _length(down, halo, counts[0]) * counts[1] * _length(right, halo, counts[1])

    rows, columns = min(_counts(down, right, halo, most), key=work)
    tile = _length(down, halo, rows) * _length(right, halo, columns)
    if tile > 2 * max(most, _LEAST):
        raise ImageTooLarge(
            f"{height}×{width} can't be run in tiles of {most:,} pixels: with the model's halo of {halo} pixels, "
            f"a tile has {tile:,}; run it on workers that take larger tiles (MASKQ_TILE_PIXELS)"
        )
    return _spans(height, down, halo, rows), _spans(width, right, halo, columns)


def stitch(planes: Floats, run: RunInput, packer: Packer, halo: int, most: int) -> None:
    """Run the network over an input (C, h, w) and pack its fields; in tiles where it has more than `most` pixels.

    Where the packer's image has another size than the input, the fields are resized to that, tile by tile. Raises
    `ImageTooLarge` as `layout` does.
    """
    size = planes.shape[1], planes.shape[2]
    resized = packer.shape != size
    rows, columns = layout(size, halo + resized, most)  # resizing looks one pixel beyond a core
    for row, column in product(rows, columns):
        seen = pad(planes[:, row.seen, column.seen])
        if resized:
            _pack_resized(run_whole(run, seen), row, column, size, packer)
        else:
            part = run(Input(seen, (_within(row), _within(column)), compact=True))
            packer.add(part, row.core.start, column.core.start)


def _pack_resized(raw: Floats, row: Span, column: Span, size: tuple[int, int], packer: Packer) -> None:
    """Pack a tile's part of the image: the pixels that lie within the core on an input of that size."""
    y, x = (places(*sides) for sides in zip(packer.shape, size, strict=True))
    (top, bottom), (left, right) = (
        np.searchsorted(at, (of.core.start, of.core.stop)).tolist() for at, of in ((y, row), (x, column))
    )
    if left == right:
        return
    strip = max(1, _STRIP // (right - left))
    for first in range(top, bottom, strip):
        rows = y[first : min(first + strip, bottom)] - row.seen.start
        packer.add(sample(raw, rows, x[left:right] - column.seen.start), first, left)


def _within(span: Span) -> slice:
    """The core as counted from the tile's first pixel."""
    return slice(span.core.start - span.seen.start, span.core.stop - span.seen.start)


def _length(end: int, halo: int, count: int) -> int:
    """How long each of `count` tiles is that together reach `end`, overlapping by two halos."""
    return round_up(-(-(end + 2 * halo * (count - 1)) // count))


def _counts(down: int, right: int, halo: int, most: int) -> Iterator[tuple[int, int]]:
    """For every number of tiles one below another, the fewest beside one another that keep to `most` pixels each."""
    most_rows, most_columns = (max(1, end // max(halo, STRIDE)) for end in (down, right))
    fits = False
    for rows in range(1, most_rows + 1):
        longest = most // _length(down, halo, rows) // STRIDE * STRIDE
        if longest >= right:
            columns = 1
        elif longest > 2 * halo:
            columns = -(-(right - 2 * halo) // (longest - 2 * halo))
        else:
            continue
        if columns <= most_columns:
            fits = True
            yield rows, columns
    if not fits:
        yield most_rows, most_columns


def _spans(side: int, end: int, halo: int, count: int) -> list[Span]:
    """Up to `count` tiles of one length that see a side up to `end`, each core beginning where the last one ended."""
    length = _length(end, halo, count)
    starts = sorted({min(number * (length - 2 * halo), end - length) for number in range(count)})
    edges = [0, *(start + length - halo for start in starts[:-1]), side]
    return [
        Span(slice(first, last), slice(start, start + length))
        for first, last, start in zip(edges, edges[1:], starts, strict=False)
    ]
