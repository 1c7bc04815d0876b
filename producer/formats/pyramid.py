"""Labels at the sizes of a pyramid: every second pixel of the level before, so that no label is invented."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ..client.job import Result

#: Sides of tiles and chunks, pixels. A level of one tile is the last.
TILE = 512


class Pyramid:
    """The levels of a result's labels; 0 is the full size. Of a stack, only one plane is in memory at a time."""

    def __init__(self, result: Result) -> None:
        self._result = result
        first = next(result.stored_planes())
        self._image = None if result.planes else first
        #: `uint16`, or `int32` if a label exceeds 65,535.
        self.dtype = first.dtype.name
        #: The number of levels.
        self.levels = max(0, -(-max(result.size) // TILE) - 1).bit_length() + 1

    def size(self, level: int) -> tuple[int, int]:
        """(height, width) of a level."""
        height, width = (-(-side >> level) for side in self._result.size)
        return height, width

    def planes(self, level: int) -> Iterator[NDArray[np.integer[Any]]]:
        """The labels of each plane at a level."""
        step = 1 << level
        for labels in self._result.stored_planes() if self._image is None else [self._image]:
            yield labels[::step, ::step]
