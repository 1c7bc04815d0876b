"""Where a plane is in its stack."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..client.job import Result


def stack_position(result: Result, plane: int | None) -> dict[str, int]:
    """A plane's index from 0 along each axis of the stack, such as `{"T": 0, "Z": 4}`; empty if it is no stack.

    Along the only axis of a stack, the index is that in the submitted stack.
    """
    axes = result.axes.removesuffix("YX")
    if plane is None:
        return {}
    if len(axes) == 1:
        return {axes: plane - 1}
    position, indices = result.planes.index(plane), {}
    for axis, length in zip(reversed(axes), reversed(result.shape), strict=True):
        position, indices[axis] = divmod(position, length)
    return indices
