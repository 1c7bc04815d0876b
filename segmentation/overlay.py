"""Draw an image's objects: pixels in 8 bits, each object tinted and outlined in its colour.

Imports only numpy, so that any process with pixels and labels can draw.
"""

import numpy as np
from numpy.typing import NDArray

from .arrays import Labels, Pixels

#: 8-bit pixels, (H, W, 3) in public functions.
Picture = NDArray[np.uint8]

#: Pixels per band of rows. Intermediate arrays of this size stay in the processor's cache.
_BAND = 1 << 16
#: Approximate limit of the pixels, on a regular sub-grid, that percentiles are taken over.
_SAMPLE = 1 << 16
_PERCENTILES = (0.5, 99.8)
_HUES = 1024
#: 2³² divided by the golden ratio: its multiples, modulo 2³², spread consecutive ids evenly over the hues.
_GOLDEN = np.uint32(2654435769)
#: Shift from such a multiple to an index of `_COLOURS`.
_TO_HUE = np.uint32(32 - _HUES.bit_length() + 1)
#: Width of the gap between pictures, pixels.
_GAP = 4


def draw(pixels: Pixels, labels: Labels) -> Picture:
    """Draw (H, W, C) pixels and their (H, W) labels → (H, W, 3) uint8.

    One or two channels are drawn grey (the second is alpha), three or four as RGB (and alpha), more as their mean; NaN
    is black. An id has the same colour in every picture. Raises `ValueError` if the shapes differ in height or width.
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
        canvas = _canvas(_to_8_bit(_visible_channels(pixels[band]), low, high))
        _paint(canvas.view(np.uint32).ravel(), labels[band].ravel(), _boundaries(labels, band).ravel())
        for channel in range(3):  # channel by channel is five times as fast as all three at once
            picture[band, :, channel] = canvas[..., channel]
    return picture


def outline(picture: Picture, labels: Labels, colour: tuple[int, int, int]) -> None:
    """Draw the inner boundaries of the (H, W) labels' objects into the (H, W, 3) picture, in place.

    Where objects touch, both are outlined. Raises `ValueError` if the shapes differ in height or width.
    """
    if picture.shape[:2] != labels.shape:
        raise ValueError(f"picture {picture.shape} and labels {labels.shape} differ in height or width")
    picture[_boundaries(labels, slice(0, len(labels))) & (labels != 0)] = colour


def resized(pixels: Pixels, labels: Labels, shortest: int, longest: int) -> tuple[Pixels, Labels]:
    """Resize by a whole factor → (h, w, 1 or 3) pixels and (h, w) labels, the longer side at most `longest` pixels.

    If the longer side is less than `shortest`, it is enlarged at most 8 times, up to near `shortest`. The channels are
    those that `draw` shows. Shrinking takes the mean of each step × step pixels and every step-th label.
    """
    side = max(1, *labels.shape)
    step, times = -(-side // longest), min(max(shortest // side, 1), 8)
    visible = _visible_channels(pixels)
    if step > 1:
        return _block_means(visible, step), labels[::step, ::step]
    return visible.repeat(times, 0).repeat(times, 1), labels.repeat(times, 0).repeat(times, 1)


def side_by_side(*pictures: Picture) -> Picture:
    """Join (H, W, 3) pictures in a row, with thin white gaps. Raises `ValueError` for none or unequal heights."""
    heights = {picture.shape[0] for picture in pictures}
    if len(heights) != 1:
        raise ValueError(f"pictures of one height are needed, not of {sorted(heights)}")
    gap = np.full((heights.pop(), _GAP, 3), 255, np.uint8)
    parts = [part for picture in pictures for part in (gap, picture)]
    return np.concatenate(parts[1:], axis=1)


def _visible_channels(pixels: Pixels) -> Pixels:
    """The channels to draw, (h, w, 1) or (h, w, 3)."""
    channels = pixels.shape[2]
    if channels <= 2:
        return pixels[..., :1]
    return pixels[..., :3] if channels <= 4 else pixels.mean(axis=2, keepdims=True)


def _block_means(pixels: Pixels, step: int) -> Pixels:
    """The mean of each step × step pixels; blocks at the right and bottom border can be smaller."""
    height, width = (-(-side // step) for side in pixels.shape[:2])
    total, count = np.zeros((height, width, pixels.shape[2])), np.zeros((height, width, 1))
    for row in range(step):
        for column in range(step):
            part = pixels[row::step, column::step]
            rows, columns = part.shape[:2]
            total[:rows, :columns] += part.astype(np.float64) / step**2  # divided first, because a sum could overflow
            count[:rows, :columns] += 1 / step**2
    return total / count


def _range(pixels: Pixels) -> tuple[float, float]:
    """The values to draw black and white, the same for all channels, so that colours keep their hue."""
    step = max(1, int((pixels.shape[0] * pixels.shape[1] / _SAMPLE) ** 0.5))
    sample = _visible_channels(pixels[::step, ::step]).astype(np.float64)
    low, high = np.percentile(sample, _PERCENTILES)
    if np.isnan(low):  # one NaN is enough
        values = sample[~np.isnan(sample)]
        low, high = np.percentile(values, _PERCENTILES) if values.size else (0, 0)
    if low == high:  # flat except for a few pixels, which have to be visible
        visible = _visible_channels(pixels)
        low, high = np.fmin.reduce(visible, axis=None), np.fmax.reduce(visible, axis=None)
    return float(low), float(high)


def _to_8_bit(pixels: Pixels, low: float, high: float) -> Picture:
    """Stretch [low, high] to 0 to 255; all black if low equals high."""
    # float32 holds any 16-bit value and is fast; wider types need float64, or a small range on a large offset is lost.
    exact = np.result_type(pixels.dtype, np.float32)
    values = pixels.astype(exact)
    values -= exact.type(low)
    values *= exact.type(255 / (high - low) if high > low else 0)
    if pixels.dtype.kind == "f":
        values[np.isnan(values)] = 0
    return values.clip(0, 255, out=values).astype(np.uint8)


def _canvas(picture: Picture) -> Picture:
    """(h, w, 1 or 3) → (h, w, 4) with 0 in the fourth channel: four bytes are moved faster than three."""
    canvas = np.zeros((*picture.shape[:2], 4), np.uint8)
    for channel in range(3):
        canvas[..., channel] = picture[..., channel % picture.shape[2]]
    return canvas


def _boundaries(labels: Labels, band: slice) -> NDArray[np.bool_]:
    """A mask of the band's rows: pixels with a neighbour above, below, left or right that has another label."""
    first = max(band.start - 1, 0)
    rows = labels[first : band.stop + 1]
    boundaries = np.zeros(rows.shape, np.bool_)
    for low, high in ((np.s_[:-1], np.s_[1:]), (np.s_[:, :-1], np.s_[:, 1:])):
        differ = rows[low] != rows[high]
        boundaries[low] |= differ
        boundaries[high] |= differ
    return boundaries[band.start - first : band.stop - first]


def _paint(canvas: NDArray[np.uint32], labels: Labels, boundaries: NDArray[np.bool_]) -> None:
    """Tint the objects and draw their inner boundaries, in place; all three arrays are flat."""
    index = np.flatnonzero(labels)
    colours = _COLOURS.take((labels[index].astype(np.uint32) * _GOLDEN) >> _TO_HUE)
    tinted = canvas[index]
    tinted += _quarter(colours) - _quarter(tinted)
    canvas[index] = np.where(boundaries[index], colours, tinted)


def _quarter(colours: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Divide each of the four bytes by 4."""
    return (colours >> np.uint32(2)) & np.uint32(0x3F3F3F3F)


def _palette() -> NDArray[np.uint32]:
    """Colours around the hue circle, four bytes each: red, green, blue, 0."""
    hues = np.arange(_HUES)[:, None] / _HUES * 6
    distance = np.abs((hues - np.array([0, 2, 4]) + 3) % 6 - 3)
    bright = 64 + 191 * np.clip(2 - distance, 0, 1)  # no channel is 0: pure blue is hard to see on black
    return _canvas(bright.astype(np.uint8)[None]).view(np.uint32).ravel()


_COLOURS = _palette()
