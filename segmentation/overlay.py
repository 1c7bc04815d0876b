"""A picture for people: the image in 8 bits, each object tinted in a colour of its own and outlined in it.

Needs numpy alone, so that whoever holds pixels and labels can draw.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .arrays import Pixels

Picture = NDArray[np.uint8]

#: Rows are drawn in bands of about this many pixels: the intermediate arrays then stay in the processor's cache.
_BAND = 1 << 16
#: Percentiles are taken over at most about this many pixels of a regular sub-grid.
_SAMPLE = 1 << 16
_PERCENTILES = (0.5, 99.8)
_HUES = 1024
#: 2³² divided by the golden ratio: its multiples, modulo 2³², spread consecutive ids evenly over the hues.
_GOLDEN = np.uint32(2654435769)
_TO_HUE = np.uint32(32 - _HUES.bit_length() + 1)
_GAP = 4


def draw(pixels: Pixels, labels: NDArray[np.int32]) -> Picture:
    """(H, W, C) finite pixels and their (H, W) labels (0 is background) → (H, W, 3) uint8.

    One or two channels are drawn grey (the second is alpha), three or four as RGB (and alpha), more as their mean.
    An id has the same colour in every picture. Raises `ValueError` where the two differ in height or width.
    """
    if pixels.shape[:2] != labels.shape:
        raise ValueError(f"pixels {pixels.shape} and labels {labels.shape} differ in height or width")
    height, width = labels.shape
    picture = np.empty((height, width, 3), np.uint8)
    if picture.size == 0:
        return picture
    low, high = _range(pixels)
    rows = max(1, _BAND // width)
    for top in range(0, height, rows):
        band = slice(top, min(top + rows, height))
        canvas = _canvas(_stretched(_shown(pixels[band]), low, high))
        _paint(canvas.view(np.uint32).ravel(), labels[band].ravel(), _edges(labels, band).ravel())
        for channel in range(3):  # one by one is five times as fast as all three at once
            picture[band, :, channel] = canvas[..., channel]
    return picture


def outline(picture: Picture, labels: NDArray[np.int32], colour: tuple[int, int, int]) -> None:
    """Draw the inner boundaries of the (H, W) labels' objects into the (H, W, 3) picture, in place.

    Objects that touch are outlined on both sides. Raises `ValueError` where the two differ in height or width.
    """
    if picture.shape[:2] != labels.shape:
        raise ValueError(f"picture {picture.shape} and labels {labels.shape} differ in height or width")
    picture[_edges(labels, slice(0, len(labels))) & (labels != 0)] = colour


def resized(pixels: Pixels, labels: NDArray[np.int32], shortest: int, longest: int) -> tuple[Pixels, NDArray[np.int32]]:
    """Pixels as (h, w, 1 or 3) and (h, w) labels with a longer side of at most `longest` pixels and, by a whole factor
    of at most 8, near `shortest` where it is less.

    The channels are those that `draw` shows. Shrinking takes the mean of the pixels and every so many labels.
    """
    side = max(1, *labels.shape)
    step, times = -(-side // longest), min(max(shortest // side, 1), 8)
    if step > 1:
        return _means(_shown(pixels), step), labels[::step, ::step]
    larger = labels.repeat(times, axis=0).repeat(times, axis=1)
    return _shown(pixels).repeat(times, axis=0).repeat(times, axis=1), larger


def side_by_side(*pictures: Picture) -> Picture:
    """(H, W, 3) pictures of one height in a row, thin white gaps between them.

    Raises `ValueError` where the heights differ or there is no picture.
    """
    heights = {picture.shape[0] for picture in pictures}
    if len(heights) != 1:
        raise ValueError(f"pictures of one height are needed, not of {sorted(heights)}")
    gap = np.full((heights.pop(), _GAP, 3), 255, np.uint8)
    parts = [part for picture in pictures for part in (gap, picture)]
    return np.concatenate(parts[1:], axis=1)


def _shown(pixels: Pixels) -> Pixels:
    """The channels to draw: (h, w, 1) or (h, w, 3)."""
    channels = pixels.shape[2]
    if channels <= 2:
        return pixels[..., :1]
    return pixels[..., :3] if channels <= 4 else pixels.mean(axis=2, keepdims=True)


def _means(pixels: Pixels, step: int) -> Pixels:
    """The mean of every step × step pixels; at the right and at the bottom, of those that there are."""
    height, width = (-(-side // step) for side in pixels.shape[:2])
    total, count = np.zeros((height, width, pixels.shape[2])), np.zeros((height, width, 1))
    for row in range(step):
        for column in range(step):
            part = pixels[row::step, column::step]
            rows, columns = part.shape[:2]
            total[:rows, :columns] += part.astype(np.float64) / step**2  # divided first: a sum could overflow
            count[:rows, :columns] += 1 / step**2
    return total / count


def _range(pixels: Pixels) -> tuple[float, float]:
    """What becomes black and what becomes white, for all channels alike so that colours keep their hue."""
    step = max(1, int((pixels.shape[0] * pixels.shape[1] / _SAMPLE) ** 0.5))
    low, high = np.percentile(_shown(pixels[::step, ::step]).astype(np.float64), _PERCENTILES)
    if low == high:  # flat but for a few pixels, and those are what one wants to see
        shown = _shown(pixels)
        low, high = shown.min(), shown.max()
    return float(low), float(high)


def _stretched(pixels: Pixels, low: float, high: float) -> Picture:
    """Pixels as 0 to 255; all black where low and high are the same."""
    # 32 bits hold any 16-bit value and are faster; wider types would lose a small range on a large offset.
    exact = np.result_type(pixels.dtype, np.float32)
    values = pixels.astype(exact)
    values -= exact.type(low)
    values *= exact.type(255 / (high - low) if high > low else 0)
    return values.clip(0, 255, out=values).astype(np.uint8)


def _canvas(shown: Picture) -> Picture:
    """(h, w, 1 or 3) → (h, w, 4), the fourth 0: four bytes are moved faster than three."""
    canvas = np.zeros((*shown.shape[:2], 4), np.uint8)
    for channel in range(3):
        canvas[..., channel] = shown[..., channel % shown.shape[2]]
    return canvas


def _edges(labels: NDArray[np.int32], band: slice) -> NDArray[np.bool_]:
    """Where, in the band of rows, a pixel above, below, left or right has another label."""
    first = max(band.start - 1, 0)
    around = labels[first : band.stop + 1]
    edges = np.zeros(around.shape, np.bool_)
    for low, high in ((np.s_[:-1], np.s_[1:]), (np.s_[:, :-1], np.s_[:, 1:])):
        differ = around[low] != around[high]
        edges[low] |= differ
        edges[high] |= differ
    return edges[band.start - first : band.stop - first]


def _paint(canvas: NDArray[np.uint32], labels: NDArray[np.int32], edges: NDArray[np.bool_]) -> None:
    """Tint the objects and draw their inner boundaries, in place; all three are flat."""
    places = np.flatnonzero(labels)
    colours = _COLOURS.take((labels[places].astype(np.uint32) * _GOLDEN) >> _TO_HUE)
    inside = canvas[places]
    inside += _quarter(colours) - _quarter(inside)
    canvas[places] = np.where(edges[places], colours, inside)


def _quarter(colours: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """A quarter of each of the four bytes."""
    return (colours >> np.uint32(2)) & np.uint32(0x3F3F3F3F)


def _palette() -> NDArray[np.uint32]:
    """Colours around the hue circle, four bytes each: red, green, blue, 0."""
    hues = np.arange(_HUES)[:, None] / _HUES * 6
    distance = np.abs((hues - np.array([0, 2, 4]) + 3) % 6 - 3)
    bright = 64 + 191 * np.clip(2 - distance, 0, 1)  # no channel falls to 0: pure blue is hard to see on black
    return _canvas(bright.astype(np.uint8)[None]).view(np.uint32).ravel()


_COLOURS = _palette()
