"""Huge images in tiles: the same fields as for the whole image, with the memory of one tile.

The fields of a pixel depend on the network's receptive field only. So each tile computes the fields of its *core* and
sees a *halo* of that width around it; at the image's border a tile ends where the padded image ends, and the zero
padding beyond acts as on the whole image. Cores begin at multiples of 8, because the network halves the image three
times. All tiles of an image have the same shape, for cudnn's search and for batches.

The fields are stitched, packed tile by tile; the clustering then runs once over all of them, so there are no seams.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np

from ..arrays import Floats
from ..clustering.fields import Packer
from ..errors import ImageTooLarge
from .architectures.branched_erfnet import HALO
from .inference import Input, RunInput
from .preprocessing import pad
from .resampling import pixel_positions, run_whole, sample
from .shape_buckets import STRIDE, aligned_shape, round_up

#: Pixels of the largest tile that `HALO` requires, whatever the limit.
_HALO_TILE_PIXELS = (3 * HALO + STRIDE) ** 2
#: Resized fields are packed in strips of about this many pixels.
_STRIP_PIXELS = 1 << 20


@dataclass(frozen=True)
class Bounds:
    """Limits on one image, in pixels of the network's input."""

    #: A larger image runs in tiles of at most this many pixels.
    tile_pixels: int = 20_000_000
    #: The most pixels that an image may be enlarged to.
    max_pixels: int = 100_000_000


@dataclass(frozen=True)
class Span:
    """One side of a tile."""

    #: The pixels whose fields the tile computes.
    core: slice
    #: The pixels that the network sees; beyond the image they repeat its last row or column.
    seen: slice


def layout(size: tuple[int, int], halo: int, tile_pixels: int) -> tuple[list[Span], list[Span]]:
    """The rows and columns of tiles of a (height, width) image: the least work with at most `tile_pixels` per tile.

    Cores are at least as wide as the halo on average, even if tiles then exceed the limit: smaller ones would be nearly
    all halo. Raises `ImageTooLarge` if a tile has more than twice `tile_pixels` and more than twice what `HALO` needs.
    """
    height, width = size
    padded_height, padded_width = aligned_shape(height, width)
    if padded_height * padded_width <= tile_pixels:
        return [Span(slice(0, height), slice(0, padded_height))], [Span(slice(0, width), slice(0, padded_width))]
    halo = round_up(halo)

    def work(counts: tuple[int, int]) -> int:
        return counts[0] * _length(padded_height, halo, counts[0]) * counts[1] * _length(padded_width, halo, counts[1])

    rows, columns = min(_counts(padded_height, padded_width, halo, tile_pixels), key=work)
    pixels = _length(padded_height, halo, rows) * _length(padded_width, halo, columns)
    if pixels > 2 * max(tile_pixels, _HALO_TILE_PIXELS):
        raise ImageTooLarge(
            f"{height}×{width} can't be run in tiles of {tile_pixels:,} pixels: with the model's halo of {halo} "
            f"pixels, a tile has {pixels:,}; run it on workers that take larger tiles (MASKQ_TILE_PIXELS)"
        )
    return _spans(height, padded_height, halo, rows), _spans(width, padded_width, halo, columns)


def stitch(planes: Floats, run: RunInput, packer: Packer, halo: int, tile_pixels: int) -> None:
    """Run the network over an input (C, h, w), in tiles if it has more than `tile_pixels`, and pack the fields.

    If the packer's image has another size than the input, the fields are resized to it, tile by tile. Raises
    `ImageTooLarge` as `layout` does.
    """
    size = planes.shape[1], planes.shape[2]
    resized = packer.shape != size
    rows, columns = layout(size, halo + resized, tile_pixels)  # resizing reads one pixel beyond a core
    for row, column in product(rows, columns):
        seen = pad(planes[:, row.seen, column.seen])
        if resized:
            _pack_resized(run_whole(run, seen), row, column, size, packer)
        else:
            part = run(Input(seen, (_core_in_tile(row), _core_in_tile(column)), compact=True))
            packer.add(part, row.core.start, column.core.start)


def _pack_resized(raw: Floats, row: Span, column: Span, size: tuple[int, int], packer: Packer) -> None:
    """Pack the image's pixels that lie in a tile's core on an input of `size`; `raw` are the tile's fields."""
    y, x = (pixel_positions(*sides) for sides in zip(packer.shape, size, strict=True))
    (top, bottom), (left, right) = (
        np.searchsorted(positions, (span.core.start, span.core.stop)).tolist()
        for positions, span in ((y, row), (x, column))
    )
    if left == right:
        return
    strip_rows = max(1, _STRIP_PIXELS // (right - left))
    for first in range(top, bottom, strip_rows):
        rows = y[first : min(first + strip_rows, bottom)] - row.seen.start
        packer.add(sample(raw, rows, x[left:right] - column.seen.start), first, left)


def _core_in_tile(span: Span) -> slice:
    """The core, counted from the tile's first pixel."""
    return slice(span.core.start - span.seen.start, span.core.stop - span.seen.start)


def _length(side: int, halo: int, count: int) -> int:
    """The length of each of `count` tiles that together cover `side`, overlapping by two halos."""
    return round_up(-(-(side + 2 * halo * (count - 1)) // count))


def _counts(height: int, width: int, halo: int, tile_pixels: int) -> Iterator[tuple[int, int]]:
    """Candidate grids: for each number of rows, the fewest columns with at most `tile_pixels` per tile."""
    max_rows, max_columns = (max(1, side // max(halo, STRIDE)) for side in (height, width))
    fits = False
    for rows in range(1, max_rows + 1):
        max_width = tile_pixels // _length(height, halo, rows) // STRIDE * STRIDE
        if max_width >= width:
            columns = 1
        elif max_width > 2 * halo:
            columns = -(-(width - 2 * halo) // (max_width - 2 * halo))
        else:
            continue
        if columns <= max_columns:
            fits = True
            yield rows, columns
    if not fits:
        yield max_rows, max_columns


def _spans(side: int, padded: int, halo: int, count: int) -> list[Span]:
    """Up to `count` tiles of equal length that see a side up to `padded`; each core begins where the last one ended."""
    length = _length(padded, halo, count)
    starts = sorted({min(number * (length - 2 * halo), padded - length) for number in range(count)})
    edges = [0, *(start + length - halo for start in starts[:-1]), side]
    return [
        Span(slice(first, last), slice(start, start + length))
        for first, last, start in zip(edges, edges[1:], starts, strict=False)
    ]
