"""Labels at the sizes of a pyramid: every second pixel of the level before, so that no label is invented."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ..client.job import Result

#: Sides of tiles and chunks, pixels. A level of one tile is the last.
TILE = 512


def levels(size: tuple[int, int]) -> int:
    """The number of levels for (height, width), the full size included."""
    return max(0, -(-max(*size, 1) // TILE) - 1).bit_length() + 1


def level_size(size: tuple[int, int], level: int) -> tuple[int, int]:
    """(height, width) of a level; 0 is the full size."""
    height, width = (-(-side >> level) if side else 0 for side in size)
    return height, width


def level_planes(result: Result, level: int) -> Iterator[NDArray[np.int32]]:
    """The labels of each plane at a level."""
    step = 1 << level
    for labels in _planes(result):
        yield labels[::step, ::step]


def _planes(result: Result) -> Iterable[NDArray[np.int32]]:
    """The planes; an image's, which is read for each level, stays in memory."""
    return result.label_planes() if result.planes else [result.labels]


def label_type(result: Result) -> str:
    """`uint16`, or `int32` if a label exceeds 65,535."""
    return "int32" if any(int(labels.max(initial=0)) > 65_535 for labels in _planes(result)) else "uint16"
