"""The meaning of a plain array's axes: which are height, width, channels and planes.

Without names, (H, W), (H, W, 1), (H, W, 3) and (H, W, 4) are grey, RGB and RGBA. Every other array could be read in
several ways, and is refused. `producer.client.arrays` refuses the same arrays before they are sent.
"""

from dataclasses import dataclass
from math import prod

import numpy as np

from ..arrays import Pixels
from ..errors import NotAnImage
from .image import ChannelKind

#: Axes that number planes, and the axes of channels: separate ones, and samples of a colour.
_PLANES, _CHANNELS, _SAMPLES = "TZ", "C", "S"
_KINDS = {1: ChannelKind.GREY, 2: ChannelKind.GREY_ALPHA, 3: ChannelKind.RGB, 4: ChannelKind.RGBA}
#: An array of three axes is an image with channels last only if its sides are longer than this: (3, 512, 3) is not.
_MAX_FIRST = 4


@dataclass(frozen=True)
class Layout:
    """The axes of an array, and their lengths."""

    axes: str
    shape: tuple[int, ...]

    def length(self, axis: str) -> int:
        """The length of an axis; 1 if the array does not have it."""
        return self.shape[self.axes.index(axis)] if axis in self.axes else 1

    @property
    def height(self) -> int:
        """Pixels."""
        return self.length("Y")

    @property
    def width(self) -> int:
        """Pixels."""
        return self.length("X")

    @property
    def channels(self) -> int:
        """Channels or samples of a pixel."""
        return self.length(_CHANNELS) * self.length(_SAMPLES)

    @property
    def kind(self) -> ChannelKind:
        """What the channels mean: `S` is RGB or RGBA, or grey (and alpha); `C` is separate channels."""
        if _SAMPLES in self.axes:
            return _KINDS[self.length(_SAMPLES)]
        return ChannelKind.GREY if self.channels == 1 else ChannelKind.SEPARATE

    @property
    def stack_axes(self) -> str:
        """The axes that number planes; empty if there is one plane only."""
        planes = "".join(axis for axis in self.axes if axis in _PLANES)
        return planes if prod(map(self.length, planes)) != 1 else ""

    @property
    def stack_shape(self) -> tuple[int, ...]:
        """The lengths of `stack_axes`."""
        return tuple(map(self.length, self.stack_axes))

    def arrange(self, array: Pixels) -> Pixels:
        """A view of the array as (planes, H, W, C); a copy if the planes of several axes are not in order."""
        first = [axis for axis in self.axes if axis in _PLANES]
        last = [axis for axis in self.axes if axis in _CHANNELS + _SAMPLES]
        ordered = np.transpose(array, [self.axes.index(axis) for axis in (*first, "Y", "X", *last)])
        return ordered.reshape(prod(map(self.length, first)), self.height, self.width, self.channels)


def layout_of(shape: tuple[int, ...], axes: str | None, name: str) -> Layout:
    """The layout of an array whose axes are `axes`, or plain if that is None. Raises `NotAnImage` if it is unclear."""
    if axes is None:
        return _plain_layout(shape, name)
    if len(axes) != len(shape):
        raise NotAnImage(f"{name}: the option `axes` is {axes}, {len(axes)} axes, but the shape is {shape}")
    if len(set(axes)) < len(axes) or not {"Y", "X"} <= set(axes):
        raise NotAnImage(f"{name}: the option `axes` is {axes}: it needs Y and X, and no axis twice")
    layout = Layout(axes, shape)
    if _SAMPLES in axes and (layout.length(_SAMPLES) not in _KINDS or layout.length(_CHANNELS) > 1):
        raise NotAnImage(
            f"{name}: axes {axes} of shape {shape}: S is 1 to 4 samples (3 for RGB), and not beside C, which is for "
            f"separate channels"
        )
    return layout


def _plain_layout(shape: tuple[int, ...], name: str) -> Layout:
    if len(shape) == 2:
        return Layout("YX", shape)
    if len(shape) == 3 and shape[2] in (1, 3, 4) and min(shape[:2]) > _MAX_FIRST:
        return Layout("YXS", shape)
    raise NotAnImage(
        f"{name}: an array of shape {shape} can be read in several ways: name its axes with the option `axes`, such as "
        f"{_suggestions(len(shape))}"
    )


def _suggestions(dimensions: int) -> str:
    if dimensions == 3:
        return "SYX (RGB first), CYX (separate channels first), ZYX (planes), YXS (RGB last) or YXC (channels last)"
    return "ZCYX, TZYX or ZYXS" if dimensions == 4 else "TZCYX"
