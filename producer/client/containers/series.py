"""One image of a container as its reader presents it: axes, levels and a way to read a part of a plane."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

#: A height and a width, pixels or micrometres.
Size: TypeAlias = "tuple[int, int]"
#: The index of a plane in one channel: 0-based positions on the axes T, Z and C that the series has.
Index: TypeAlias = "Mapping[str, int]"


class Box(NamedTuple):
    """A rectangle of pixels; `top` and `left` are inside, `bottom` and `right` are not."""

    top: int
    left: int
    bottom: int
    right: int

    @property
    def size(self) -> Size:
        """Height and width."""
        return self.bottom - self.top, self.right - self.left

    def seen_from(self, top: int, left: int) -> tuple[slice, slice]:
        """The rows and columns of it in an array whose first pixel is at (top, left)."""
        return slice(self.top - top, self.bottom - top), slice(self.left - left, self.right - left)


@dataclass(frozen=True)
class Series:
    """One image of a container: a pyramid of planes."""

    #: Its name in the file; empty if it has none.
    name: str
    #: Lengths of the axes T, Z and C that it has, in this order; an axis that is missing has one position.
    axes: Mapping[str, int]
    #: Height and width of each level, pixels; the first is the full image.
    levels: tuple[Size, ...]
    dtype: np.dtype[Any]
    #: (level, index, box in the level's pixels) → (h, w), or (h, w, samples) if `samples` is more than 1.
    read: Callable[[int, Index, Box], NDArray[Any]]
    #: 3 for RGB, 4 for RGB and alpha, otherwise 1.
    samples: int = 1
    #: A name for each channel; empty if the file has none.
    channels: tuple[str, ...] = ()
    #: Height and width of a pixel of the full image, micrometres; None if unknown.
    pixel_size: tuple[float, float] | None = None

    @property
    def planes(self) -> int:
        """The number of planes: positions on T and Z."""
        return prod(length for axis, length in self.axes.items() if axis != "C")

    @property
    def channel_count(self) -> int:
        """The length of C."""
        return self.axes.get("C", 1)

    def pixel_size_at(self, level: int) -> tuple[float, float] | None:
        """Height and width of a pixel of the level, micrometres; None if unknown."""
        if self.pixel_size is None:
            return None
        (full_h, full_w), (height, width) = self.levels[0], self.levels[level]
        return self.pixel_size[0] * full_h / height, self.pixel_size[1] * full_w / width

    def describe_levels(self) -> str:
        """The levels with their sizes, such as `level 0 is 4000 × 3000 (0.25 µm per pixel), level 1 …`."""
        shown = [f"level {level} is {w} × {h}{self._scale(level)}" for level, (h, w) in enumerate(self.levels)]
        return ", ".join(shown)

    def _scale(self, level: int) -> str:
        size = self.pixel_size_at(level)
        return f" ({size[1]:.4g} µm per pixel)" if size else ""
