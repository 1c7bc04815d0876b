"""The corners of objects' outlines in a label image."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

_Flags = NDArray[np.bool_]
_Indices = NDArray[np.intp]
_Labels = NDArray[np.integer[Any]]

#: Pixels per band of rows. Intermediate arrays of this size stay in the processor's cache.
_BAND = 1 << 18


class Corners(NamedTuple):
    """Corners sorted by y, x; a corner joins a horizontal and a vertical edge of one object.

    Of two at a point, one from whose point its edge goes west comes before one whose edge goes east, and one whose edge
    goes north before one whose edge goes south.
    """

    x: NDArray[np.int32]
    y: NDArray[np.int32]
    label: _Labels
    #: Whether the object is above the horizontal edge, otherwise it is below.
    pixel_above: _Flags
    #: Whether the object is left of the vertical edge, otherwise it is right of it.
    pixel_left: _Flags
    #: Pairs of corners of one object at one point, where two pixels touch only diagonally.
    contacts: tuple[_Indices, _Indices]

    def by_column(self) -> _Indices:
        """The corners' indices by x, y."""
        # numpy sorts 16-bit integers by radix, five times as fast.
        return np.argsort(self.x.astype(np.uint16) if self.x.max(initial=0) < 1 << 16 else self.x, kind="stable")


class _Points(NamedTuple):
    """Points where pixels differ both horizontally and vertically, in row-major order, and the pixels around each."""

    #: y · (width + 1) + x.
    place: _Indices
    #: (N, 4): the labels of the pixels to the north-west, north-east, south-west and south-east.
    pixels: _Labels


#: The corner of a pixel at a point is convex if both pixels beside it differ from it, as of the last pixel of a
#: rectangle; the object has a reflex corner there if the other three pixels are equal and this one differs. Their kinds
#: are the pixel's number, times 2, plus 1 for a reflex one. For each kind:
_IS_NORTH = np.array([True, True, True, True, False, False, False, False])
_IS_WEST = np.array([True, True, False, False, True, True, False, False])
_IS_CONVEX = np.array([True, False] * 4)
#: A pixel of the object: that of a convex corner, the opposite one of a reflex corner.
_OBJECT = np.array([0, 3, 1, 2, 2, 1, 3, 0])
_NW, _NE, _SW, _SE = 0, 2, 4, 6


def corners_of(labels: _Labels) -> Corners:
    """The corners of all objects of the (H, W) labels."""
    points = _points(labels)
    corners = np.flatnonzero(_kinds(points.pixels))
    point, kind = corners >> 3, corners & 7
    y, x = np.divmod(points.place[point], labels.shape[1] + 1)
    label = points.pixels.ravel()[point * 4 + _OBJECT[kind]]
    above, left = (_IS_CONVEX == _IS_NORTH)[kind], (_IS_CONVEX == _IS_WEST)[kind]
    return Corners(x.astype(np.int32), y.astype(np.int32), label, above, left, _contacts(points.pixels, corners))


def _kinds(pixels: _Labels) -> _Flags:
    """(N, 8): the kinds of corners at each point."""
    nw, ne, sw, se = pixels.T
    north, south, west, east = nw != ne, sw != se, nw != sw, ne != se
    kinds = np.empty((len(pixels), 8), np.bool_)
    beside = ((north, west), (north, east), (south, west), (south, east))
    for number, (one, other) in enumerate(beside):
        # The two lines that meet at the opposite pixel.
        opposite_one, opposite_other = beside[3 - number]
        turns = one & other
        kinds[:, 2 * number] = turns & (pixels[:, number] != 0)
        kinds[:, 2 * number + 1] = turns & ~(opposite_one | opposite_other) & (pixels[:, 3 - number] != 0)
    return kinds


def _contacts(pixels: _Labels, corners: _Indices) -> tuple[_Indices, _Indices]:
    """The pairs of convex corners at points where diagonal pixels are equal and both others differ from them.

    `corners` are sorted: 8 · point + kind.
    """
    nw, ne, sw, se = pixels.T
    differ = (nw != ne) & (nw != sw) & (se != ne) & (se != sw)
    falling, rising = (np.flatnonzero(differ & (a == b) & (a != 0)) for a, b in ((nw, se), (ne, sw)))
    one = np.concatenate([falling * 8 + _NW, rising * 8 + _NE])
    other = np.concatenate([falling * 8 + _SE, rising * 8 + _SW])
    return np.searchsorted(corners, one), np.searchsorted(corners, other)


def _points(labels: _Labels) -> _Points:
    height, width = labels.shape
    rows = max(1, _BAND // (width + 2))
    bands = [_points_of_band(labels, top, min(top + rows, height + 1)) for top in range(0, height + 1, rows)]
    return _Points(*(np.concatenate(arrays) for arrays in zip(*bands, strict=True)))


def _points_of_band(labels: _Labels, top: int, bottom: int) -> _Points:
    """The points with y from `top` to `bottom` - 1. Outside the image is background."""
    height, width = labels.shape
    pixels = np.zeros((bottom - top + 1, width + 2), labels.dtype)
    first, end = max(top - 1, 0), min(bottom, height)
    pixels[first - (top - 1) : end - (top - 1), 1:-1] = labels[first:end]
    beside, over = pixels[:, :-1] != pixels[:, 1:], pixels[:-1] != pixels[1:]
    y, x = np.divmod(np.flatnonzero((beside[:-1] | beside[1:]) & (over[:, :-1] | over[:, 1:])), width + 1)
    first = y * (width + 2) + x
    around = (pixels.ravel()[first + step] for step in (0, 1, width + 2, width + 3))
    return _Points((y + top) * (width + 1) + x, np.stack([*around], axis=1))
