"""Which holes are in which polygon."""

import numpy as np
from numpy.typing import NDArray

_Indices = NDArray[np.intp]
_Points = NDArray[np.int32]


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
    x, y, end_y = (column.astype(np.int64) for column in (points[:, 0], points[:, 1], ends[:, 1]))
    is_hole = np.add.reduceat(x * (end_y - y), starts[:-1]) < 0
    owners = np.arange(len(labels))
    if not is_hole.any():
        return owners
    ring = np.repeat(owners, np.diff(starts))
    leftmost = (x == np.minimum.reduceat(x, starts[:-1])[ring]) & (end_y > y) & is_hole[ring]
    holes, at = np.unique(ring[leftmost], return_index=True)
    queries = (y * (width + 1) + x)[leftmost][at]
    owners[holes] = _rings_to_the_west(queries, _edges_up(points, ends, ring, np.isin(labels, labels[holes])), width)
    while is_hole[owners].any():
        owners = owners[owners]
    return owners


def _ends(points: _Points, starts: _Indices) -> _Points:
    """The next corner of each corner in its ring."""
    following = np.arange(1, len(points) + 1)
    following[starts[1:] - 1] = starts[:-1]
    return points[following]


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
