"""Which holes are in which polygon."""

import numpy as np
from numpy.typing import NDArray

_Indices = NDArray[np.intp]
_Points = NDArray[np.int32]
_Coordinates = NDArray[np.int32]


def exterior_of(points: _Points, starts: _Indices, labels: NDArray[np.int32], width: int) -> _Indices:
    """(R,): for each ring, the ring that is its polygon's exterior: itself if it is one.

    `points` (P, 2) and `starts` (R + 1,) are those of `outlines.Rings`, in any order of the rings; `labels` are their
    objects, `width` is the image's. A hole's pixel to the west of its leftmost edge belongs to its polygon, and so do
    the pixels west of that, up to the next edge: the ring of that edge is the polygon's exterior, or another hole of
    it, further left.
    """
    if not len(labels):
        return np.empty(0, np.intp)
    ends = _ends(points, starts)
    x, y, end_y = points[:, 0], points[:, 1], ends[:, 1]
    is_hole = np.add.reduceat(x * (end_y - y).astype(np.int64), starts[:-1]) < 0
    owners = np.arange(len(labels))
    if not is_hole.any():
        return owners
    holes = np.flatnonzero(is_hole)
    ring = np.repeat(owners, np.diff(starts))
    edges = _edges_up(points, ends, ring, np.isin(labels, labels[holes]))
    owners[holes] = _rings_to_the_west(_west_of(x, y, end_y, starts, holes, width), edges, width)
    while is_hole[owners].any():
        owners = owners[owners]
    return owners


def _ends(points: _Points, starts: _Indices) -> _Points:
    """The next corner of each corner in its ring."""
    ends = np.empty_like(points)
    ends[:-1] = points[1:]
    ends[starts[1:] - 1] = points[starts[:-1]]
    return ends


def _west_of(
    x: _Coordinates, y: _Coordinates, end_y: _Coordinates, starts: _Indices, holes: _Indices, width: int
) -> NDArray[np.int64]:
    """For each hole the upper end of a leftmost edge of it, y · (width + 1) + x."""
    sizes = (starts[1:] - starts[:-1])[holes]
    begins = np.cumsum(sizes) - sizes
    points = np.repeat(starts[holes] - begins, sizes) + np.arange(sizes.sum())
    least = np.repeat(np.minimum.reduceat(x[points], begins), sizes)
    leftmost = np.flatnonzero((x[points] == least) & (end_y[points] > y[points]))
    _, first = np.unique(np.repeat(holes, sizes)[leftmost], return_index=True)
    chosen = points[leftmost[first]]
    places: NDArray[np.int64] = y[chosen].astype(np.int64) * (width + 1) + x[chosen]
    return places


def _edges_up(points: _Points, ends: _Points, ring: _Indices, wanted: NDArray[np.bool_]) -> NDArray[np.int64]:
    """(E, 4) x, top, bottom and ring of the edges that go up, with the object at their right, of the wanted rings."""
    up = (ends[:, 1] < points[:, 1]) & wanted[ring]
    return np.stack([points[up, 0], ends[up, 1], points[up, 1], ring[up]], axis=1).astype(np.int64)


def _rings_to_the_west(places: NDArray[np.int64], edges: NDArray[np.int64], width: int) -> _Indices:
    """The ring of the nearest edge west of each place, y · (width + 1) + x; a place's row has such an edge."""
    x, top, bottom, ring = edges.T
    lengths = bottom - top
    begins = np.cumsum(lengths) - lengths
    rows = np.repeat(top - begins, lengths) + np.arange(lengths.sum())
    edge_places = rows * (width + 1) + np.repeat(x, lengths)
    order = np.argsort(edge_places)
    found = order[np.searchsorted(edge_places[order], places) - 1]
    return np.repeat(ring, lengths)[found]
