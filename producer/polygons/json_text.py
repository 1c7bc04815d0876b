"""Polygons as the text of GeoJSON coordinates, many points at once: ten times as fast as number by number."""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .outlines import Rings

#: Points that are written together; an object's are never divided.
_BLOCK = 1 << 16
#: Up to this coordinate, all numbers are kept as text, beyond it only those that occur.
_ALL_NUMBERS = 1 << 20


class _Numbers:
    """Coordinates as text: a 4- or 8-byte integer for each, filled with zero bytes, is copied faster than a string."""

    def __init__(self, points: NDArray[np.int32]) -> None:
        largest = int(points.max(initial=0))
        self._values = np.unique(points) if largest > _ALL_NUMBERS else None
        values = np.arange(largest + 1) if self._values is None else self._values
        size = 4 if largest < 10**4 else 8 if largest < 10**8 else 16
        texts = values.astype(f"S{size}")
        #: Number of digits.
        self.lengths = np.char.str_len(texts)
        self.texts: NDArray[Any] = texts.view(f"u{size}" if size < 16 else f"S{size}")

    def index(self, coordinates: NDArray[np.int32]) -> NDArray[Any]:
        """Where the coordinates are in `texts` and `lengths`."""
        return coordinates if self._values is None else np.searchsorted(self._values, coordinates)


def coordinates(rings: Rings) -> Iterator[tuple[int, int, bytes]]:
    """Each object, the number of its polygons, and the `coordinates` of its Polygon or, if several, MultiPolygon."""
    begins = np.flatnonzero(np.diff(rings.labels, prepend=0))
    ends = np.append(begins[1:], len(rings.labels))
    numbers = _Numbers(rings.points)
    first = 0
    while first < len(begins):
        limit = rings.starts[begins[first]] + _BLOCK
        last = max(first + 1, int(np.searchsorted(rings.starts[ends], limit, side="right")))
        yield from _block(rings, numbers, begins[first:last], ends[first:last])
        first = last


def _block(
    rings: Rings, numbers: _Numbers, begins: NDArray[np.intp], ends: NDArray[np.intp]
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


def _points_text(points: NDArray[np.int32], numbers: _Numbers) -> tuple[bytes, NDArray[np.intp]]:
    """`[x,y],` of all points, and where each begins, and the end: (N + 1,)."""
    number = numbers.texts.dtype
    cells = np.empty(len(points), [("[", "S1"), ("x", number), (",", "S1"), ("y", number), ("],", "S2")])
    for mark in ("[", ",", "],"):
        cells[mark] = mark.encode()
    lengths = np.full(len(points), 4)
    for axis, name in enumerate("xy"):
        index = numbers.index(points[:, axis])
        cells[name] = numbers.texts[index]
        lengths += numbers.lengths[index]
    return cells.tobytes().translate(None, b"\0"), np.concatenate([[0], np.cumsum(lengths)])
