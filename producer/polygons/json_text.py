"""Polygons as the text of GeoJSON coordinates, many points at once: ten times as fast as number by number."""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from .outlines import Rings

#: Points that are written together; an object's are never divided.
_BLOCK = 1 << 16


def coordinates(rings: Rings) -> Iterator[tuple[int, int, bytes]]:
    """Each object, the number of its polygons, and the `coordinates` of its Polygon or, if several, MultiPolygon."""
    begins = np.flatnonzero(np.diff(rings.labels, prepend=0))
    ends = np.append(begins[1:], len(rings.labels))
    # Each number as text, filled with zero bytes.
    numbers = np.arange(rings.points.max(initial=0) + 1).astype(np.bytes_)
    first = 0
    while first < len(begins):
        limit = rings.starts[begins[first]] + _BLOCK
        last = max(first + 1, int(np.searchsorted(rings.starts[ends], limit, side="right")))
        yield from _block(rings, numbers, begins[first:last], ends[first:last])
        first = last


def _block(
    rings: Rings, numbers: NDArray[np.bytes_], begins: NDArray[np.intp], ends: NDArray[np.intp]
) -> Iterator[tuple[int, int, bytes]]:
    """`coordinates` of the objects whose rings are from `begins` to `ends`, which follow each other."""
    first, last = begins[0], ends[-1]
    points = rings.points[rings.starts[first] : rings.starts[last]]
    text, places = _points_text(points, numbers)
    starts = rings.starts[first : last + 1] - rings.starts[first]
    # A ring ends with its first point. Each point's text has a comma behind it, the last is cut off.
    texts = [
        b"[%b%b]" % (text[begin:end], text[begin : second - 1])
        for begin, end, second in zip(
            places[starts[:-1]].tolist(), places[starts[1:]].tolist(), places[starts[:-1] + 1].tolist(), strict=True
        )
    ]
    exterior = rings.exterior[first:last].tolist()
    bounds = zip((begins - first).tolist(), (ends - first).tolist(), rings.labels[begins].tolist(), strict=True)
    for begin, end, number in bounds:
        polygons = [ring for ring in range(begin, end) if exterior[ring]]
        parts = [b"[%b]" % b",".join(texts[one:other]) for one, other in pairwise([*polygons, end])]
        yield number, len(parts), parts[0] if len(parts) == 1 else b"[%b]" % b",".join(parts)


def _points_text(points: NDArray[np.int32], numbers: NDArray[np.bytes_]) -> tuple[bytes, NDArray[np.intp]]:
    """`[x,y],` of all points, and where each begins, and the end: (N + 1,). `numbers` are 0, 1, … as text."""
    digits = numbers.dtype
    cells = np.empty(len(points), [("[", "S1"), ("x", digits), (",", "S1"), ("y", digits), ("],", "S2")])
    for mark in ("[", ",", "],"):
        cells[mark] = mark.encode()
    lengths = np.full(len(points), 4)
    length_of = np.char.str_len(numbers)
    for axis, name in enumerate("xy"):
        cells[name] = numbers[points[:, axis]]
        lengths += length_of[points[:, axis]]
    return cells.tobytes().translate(None, b"\0"), np.concatenate([[0], np.cumsum(lengths)])
