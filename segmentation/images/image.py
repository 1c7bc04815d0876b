"""What the readers return: one image, or a stack whose planes are read one by one."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from math import prod
from typing import Self

from ..arrays import Pixels


class ChannelKind(Enum):
    """What the channels of an image mean, by the file's metadata."""

    GREY = "grey"
    GREY_ALPHA = "grey and alpha"
    RGB = "RGB"
    RGBA = "RGB and alpha"
    #: Any number of channels that are neither colours nor alpha, such as the stains of a fluorescence image.
    SEPARATE = "separate channels"


@dataclass(frozen=True)
class View:
    """Which part of a file to read, and how: options of a job.

    `tasks/embed.py` makes it from `producer.schema.Options`, whose docstrings define the fields. `tissue`, which needs
    an image to look for tissue in, is not a region of a file.
    """

    #: Which image of a file with several, from 1; None if the file has to have one.
    scene: int | None = None
    #: The level of a pyramid, from 0, the full image; None for the full image, or what `resolution` says.
    level: int | None = None
    #: Micrometres per pixel: the level that has them is read; nothing is resized here.
    resolution: float | None = None
    #: x, y, width and height of a part, pixels of the full image; None for the whole image.
    region: tuple[int, int, int, int] | None = None
    #: The axes of a NumPy array, slowest first, such as `CYX`; None if they are plain (`array_axes`).
    axes: str | None = None
    #: Whether pixels may be NaN, for background, instead of the image being refused. Infinite values become NaN.
    nan_as_background: bool = False
    #: The channels that are checked for NaN: what `channels.choose_channels` will choose. None for all channels.
    channels: int | str | Sequence[int | str] | None = None


@dataclass(frozen=True)
class Image:
    """One decoded image."""

    #: (H, W, C), in native byte order; finite, or NaN for background if `View.nan_as_background` allows it,
    #: in the channels that `View.channels` names.
    pixels: Pixels
    kind: ChannelKind
    #: A name for each channel; empty if the file has none.
    channel_names: tuple[str, ...] = ()
    #: Height and width of a pixel, micrometres; None if unknown.
    pixel_size: tuple[float, float] | None = None
    #: What was done to the file's values that a user may want to know, one sentence each.
    notes: tuple[str, ...] = ()
    #: Whether the colours are stored as planes one after another, as a stack of three is by mistake, and no metadata
    #: say that they are colours.
    by_band: bool = False

    @classmethod
    def of(cls, pixels: Pixels) -> Self:
        """An image whose kind follows from its number of channels: 1 grey, 3 RGB, 4 RGBA, otherwise separate."""
        kinds = {1: ChannelKind.GREY, 3: ChannelKind.RGB, 4: ChannelKind.RGBA}
        return cls(pixels, kinds.get(pixels.shape[2], ChannelKind.SEPARATE))

    def with_pixels(self, pixels: Pixels) -> Self:
        """The same image with other pixels."""
        return replace(self, pixels=pixels)


@dataclass(frozen=True)
class Stack:
    """Several planes of one size in one file."""

    #: Names of the axes that number the planes, slowest first, such as `TZ`; channels, height and width are not in it.
    axes: str
    #: Length of each of these axes.
    shape: tuple[int, ...]
    #: Height and width of a plane, pixels.
    size: tuple[int, int]
    #: Reads a plane by its index, from 0, in row-major order over `axes`. Raises an `ImageError`.
    read: Callable[[int], Image]

    @property
    def count(self) -> int:
        """The number of planes."""
        return prod(self.shape)
