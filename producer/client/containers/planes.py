"""Reads a part of one plane from an array with named axes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .series import Box, Index

if TYPE_CHECKING:
    from numpy.typing import NDArray


def read_plane(array: Any, axes: str, index: Index, box: Box) -> NDArray[Any]:
    """The box of the plane at `index`, (h, w) or (h, w, samples), from an array whose axes have any order.

    An axis that `index` does not name is read at its first position.
    """
    import numpy as np

    whole = {"Y": slice(box.top, box.bottom), "X": slice(box.left, box.right), "S": slice(None)}
    pixels: NDArray[Any] = np.asarray(array[tuple(whole.get(axis, index.get(axis, 0)) for axis in axes)])
    left = [axis for axis in axes if axis in whole]
    return np.transpose(pixels, [left.index(axis) for axis in "YXS" if axis in left])
