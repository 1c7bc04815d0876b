"""The corners of objects' outlines in a label image."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

_Flags = NDArray[np.bool_]
_Indices = NDArray[np.intp]
_Labels = NDArray[np.int32]

#: Pixels per band of rows. Intermediate arrays of this size stay in the processor's cache.
_BAND = 1 << 18


class Corners(NamedTuple):
    """Corners sorted by y, x; of two at a point, the one at the end of an edge from the west comes first.

    A corner joins a horizontal and a vertical edge of one object.
    """

    x: NDArray[np.int32]
    y: NDArray[np.int32]
    label: _Labels
    #: Whether the object is above the horizontal edge, otherwise it is below.
    pixel_above: _Flags
    #: Whether the object is left of the vertical edge, otherwise it is right of it.
    pixel_left: _Flags
    #: Whether the vertical edge begins here and goes on to the south, otherwise it ends here.
    to_south: _Flags
    #: Pairs of corners of one object at one point, where two pixels touch only diagonally.
    contacts: tuple[_Indices, _Indices]

    def by_column(self) -> _Indices:
        """The corners' indices by x, y; of two at a point, the one at the end of an edge from the north comes first."""
        return np.lexsort((self.to_south, self.y, self.x))


class _Points(NamedTuple):
    """Points where pixels differ both horizontally and vertically, and the labels of the four pixels around each."""

    #: y · (width + 1) + x.
    place: _Indices
    nw: _Labels
    ne: _Labels
    sw: _Labels
    se: _Labels


def corners_of(labels: _Labels) -> Corners:
    """The corners of all objects of the (H, W) labels."""
    points = _points(labels)
    nw, ne, sw, se = points[1:]
    # Each corner of a pixel: the pixel, its two neighbours at the corner, the pixel opposite; west? north?
    quadrants = (
        (nw, ne, sw, se, True, True),
        (ne, nw, se, sw, False, True),
        (sw, se, nw, ne, True, False),
        (se, sw, ne, nw, False, False),
    )
    found = [
        (np.flatnonzero(mask), label, west, north, convex)
        for pixel, beside, over, opposite, west, north in quadrants
        for mask, label, convex in (
            ((pixel != 0) & (pixel != beside) & (pixel != over), pixel, True),
            ((beside != 0) & (beside == over) & (beside == opposite) & (pixel != beside), beside, False),
        )
    ]
    sizes = [len(index) for index, *_ in found]
    index = np.concatenate([index for index, *_ in found])
    label = np.concatenate([label[index] for index, label, *_ in found])
    west, north, convex = (np.repeat(np.array([kind[i] for kind in found]), sizes) for i in (2, 3, 4))
    above, left = convex == north, convex == west
    place = points.place[index]
    order = np.argsort((place * 2 + ~west) * 2 + above)
    y, x = np.divmod(place[order], labels.shape[1] + 1)
    contacts = _contacts(points, [index for index, *_ in found], order)
    x, y = x.astype(np.int32), y.astype(np.int32)
    return Corners(x, y, label[order], above[order], left[order], ~north[order], contacts)


def _contacts(points: _Points, indices: list[_Indices], order: _Indices) -> tuple[_Indices, _Indices]:
    """The pairs of convex corners at points where diagonal pixels are equal and both others differ from them."""
    _, nw, ne, sw, se = points
    offsets = np.cumsum([0, *map(len, indices)])
    new_numbers = np.empty_like(order)
    new_numbers[order] = np.arange(len(order))
    pairs = []
    # The convex corners of the quadrants NW, NE, SW and SE are the lists 0, 2, 4 and 6.
    for equal, one, other in ((nw == se, 0, 6), (ne == sw, 2, 4)):
        pairs.append([new_numbers[offsets[kind] + np.flatnonzero(equal[indices[kind]])] for kind in (one, other)])
    return np.concatenate([pairs[0][0], pairs[1][0]]), np.concatenate([pairs[0][1], pairs[1][1]])


def _points(labels: _Labels) -> _Points:
    height, width = labels.shape
    rows = max(1, _BAND // (width + 2))
    bands = [_points_of_band(labels, top, min(top + rows, height + 1)) for top in range(0, height + 1, rows)]
    return _Points(*map(np.concatenate, zip(*bands, strict=True)))


def _points_of_band(labels: _Labels, top: int, bottom: int) -> _Points:
    """The points with y from `top` to `bottom` - 1. Outside the image is background."""
    height, width = labels.shape
    pixels = np.zeros((bottom - top + 1, width + 2), np.int32)
    first, end = max(top - 1, 0), min(bottom, height)
    pixels[first - (top - 1) : end - (top - 1), 1:-1] = labels[first:end]
    beside, over = pixels[:, :-1] != pixels[:, 1:], pixels[:-1] != pixels[1:]
    y, x = np.divmod(np.flatnonzero((beside[:-1] | beside[1:]) & (over[:, :-1] | over[:, 1:])), width + 1)
    around = (pixels[y + south, x + east] for south in (0, 1) for east in (0, 1))
    return _Points((y + top) * (width + 1) + x, *around)
