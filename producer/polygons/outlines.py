"""Label image → the outlines of its objects as polygons with holes, along the edges of pixels.

A polygon's area is the number of its pixels, and filling the polygons gives the labels again. Each part of an object
whose pixels touch along edges is one polygon. Pixels that touch only at a corner and are not connected otherwise are
two polygons; if they are connected, the outline is divided there, so that no ring touches itself and every polygon is
valid by OGC's rules.

The work is proportional to pixels plus corners of outlines, with numpy alone: corners are found in one pass over the
image, paired along rows and along columns to straight edges, and the edges are followed by pointer doubling.
"""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .corners import Corners, corners_of
from .nesting import exterior_of

Labels = NDArray[np.integer[Any]]
#: (N, 2) int32: x, y of the corners of a ring; the last corner is not the first again.
Ring = NDArray[np.int32]
#: The exterior ring, then the holes.
Polygon = list[Ring]
_Indices = NDArray[np.intp]


class Rings(NamedTuple):
    """The rings of all objects, sorted by object, then polygon; an exterior comes before its holes.

    Coordinates are in pixels; the top left corner of the first pixel is (0, 0). The area of an exterior is positive by
    the shoelace formula, that of a hole negative: RFC 7946's order, if x and y are taken as they are.
    """

    #: (P, 2) int32: x, y of all corners, ring after ring.
    points: NDArray[np.int32]
    #: (R + 1,): ring i is `points[starts[i]:starts[i + 1]]`.
    starts: _Indices
    #: (R,): the object of each ring.
    labels: NDArray[np.int32]
    #: (R,): whether a ring is an exterior, with which a polygon begins; the others are its holes.
    exterior: NDArray[np.bool_]


def polygons_of(rings: Rings) -> Iterator[tuple[int, list[Polygon]]]:
    """Each object and its polygons, sorted by object."""
    begins = np.flatnonzero(np.diff(rings.labels, prepend=0)).tolist()
    starts, exterior = rings.starts.tolist(), rings.exterior.tolist()
    for first, end in pairwise([*begins, len(exterior)]):
        polygons: list[Polygon] = []
        for i in range(first, end):
            if exterior[i]:
                polygons.append([])
            polygons[-1].append(rings.points[starts[i] : starts[i + 1]])
        yield int(rings.labels[first]), polygons


def trace(labels: Labels) -> Rings:
    """The outlines of the (H, W) labels, none negative. Raises `ValueError` for another shape."""
    if labels.ndim != 2:
        raise ValueError(f"labels must be (height, width), not {labels.shape}")
    corners = corners_of(labels)
    following, first = _divide_at_contacts(_following(corners), corners.contacts)
    places, starts = _in_order(following, first)
    points = np.stack([corners.x, corners.y], axis=1)[places]
    return _sorted_by_object(points, starts, corners.label[places[starts[:-1]]].astype(np.int32), labels.shape[1])


def _following(corners: Corners) -> _Indices:
    """The next corner of each corner along its ring; the object's pixels are on the ring's right as seen on a screen.

    Pixels that touch at a corner are kept apart.
    """
    following = np.empty(len(corners.x), np.intp)
    for along_y, same_side in ((False, corners.pixel_above), (True, corners.pixel_left)):
        order = corners.by_column() if along_y else None
        for side in (False, True):
            # On one side of a line, edges don't overlap: its corners are alternately the begin and the end of an edge.
            pairs = np.flatnonzero(same_side == side) if order is None else order[same_side[order] == side]
            begin, end = pairs[0::2], pairs[1::2]
            if side == along_y:
                following[begin] = end
            else:
                following[end] = begin
    return following


def _divide_at_contacts(following: _Indices, contacts: tuple[_Indices, _Indices]) -> tuple[_Indices, _Indices]:
    """Divide the rings that meet themselves at a point, so that each ring passes each point once.

    Returns the next corner of each corner, and the least corner of its ring.
    """
    one, other = contacts
    first = _first_of_ring(following)
    same = first[one] == first[other]
    if not same.any():
        return following, first
    one, other = one[same], other[same]
    following[one], following[other] = following[other], following[one]
    divided = np.zeros(len(first), np.bool_)
    divided[first[one]] = True
    moved = np.flatnonzero(divided[first])  # all corners of these rings, numbered anew
    numbers = np.empty_like(first)
    numbers[moved] = np.arange(len(moved))
    first[moved] = moved[_first_of_ring(numbers[following[moved]])]
    return following, first


def _first_of_ring(following: _Indices) -> _Indices:
    """The least index in each corner's ring."""
    first, step = np.arange(len(following)), following
    while True:  # `first` is the least of the next 1, 2, 4, … corners
        less = np.minimum(first, first.take(step))
        if np.array_equal(less, first):
            return first
        first, step = less, step.take(step)


def _in_order(following: _Indices, first: _Indices) -> tuple[_Indices, _Indices]:
    """The corners, ring after ring in the order of `first`, each along its ring; and the starts of the rings, (R + 1,).

    Uses the number of steps that each corner is away from the last of its ring, by pointer doubling.
    """
    numbers = np.arange(len(following))
    is_last = following == first
    jump = np.where(is_last, numbers, following)
    steps = (~is_last).astype(np.intp)
    while True:
        further = jump.take(jump)
        if np.array_equal(further, jump):
            break
        steps += steps.take(jump)
        jump = further
    begins = np.flatnonzero(first == numbers)
    starts = np.concatenate([[0], np.cumsum(steps[begins] + 1)])
    ring_start = np.empty(len(following), np.intp)
    ring_start[begins] = starts[:-1]
    places = np.empty(len(following), np.intp)
    places[ring_start[first] + steps[first] - steps] = numbers
    return places, starts


def _sorted_by_object(points: NDArray[np.int32], starts: _Indices, labels: NDArray[np.int32], width: int) -> Rings:
    exterior = exterior_of(points, starts, labels, width)
    rings = np.arange(len(labels))
    order = np.lexsort((rings, exterior != rings, exterior, labels))
    sizes = np.diff(starts)[order]
    new_starts = np.concatenate([[0], np.cumsum(sizes)])
    moved = np.repeat(starts[order] - new_starts[:-1], sizes) + np.arange(len(points))
    return Rings(points[moved], new_starts, labels[order], (exterior == rings)[order])
