"""Chooses the channels to segment. What they mean comes from the file's metadata, never from a guess."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeAlias

import numpy as np

from ..errors import AmbiguousChannels, NoSuchChannel
from ..network.preprocessing import Channels, Composite, combine
from .image import ChannelKind, Image

#: A channel's number from 1 or its name, or several of them.
Choice: TypeAlias = int | str | Sequence[int | str]

_GREY, _RGB = frozenset({ChannelKind.GREY, ChannelKind.GREY_ALPHA}), frozenset({ChannelKind.RGB, ChannelKind.RGBA})
#: The names of channels whose meaning is known.
_NAMES = {
    ChannelKind.GREY: ("grey",),
    ChannelKind.GREY_ALPHA: ("grey", "alpha"),
    ChannelKind.RGB: ("red", "green", "blue"),
    ChannelKind.RGBA: ("red", "green", "blue", "alpha"),
}
_COMPOSITES: dict[Composite, str] = {"mean": "mean", "max": "maximum"}
#: A name in a message or result is cut to this many characters.
_MAX_NAME = 40
_HOW = "Choose with the option `channels`, by number or name; several channels also need `composite` (mean or max)"


def choose_channels(
    image: Image, wanted: Choice | None, name: str, composite: Composite | None = None
) -> tuple[Image, tuple[str, ...]]:
    """The image with only the channels to segment, and what they are called in the result.

    `wanted` are numbers from 1 or names; the image then has these channels in this order. Without it, an image that is
    grey or RGB stays as it is: the network's input drops alpha. `composite` turns several channels into one grey one;
    without `wanted` it combines all channels except alpha. Errors call the image `name`. Raises `AmbiguousChannels` if
    the channels are separate and none is chosen, or if a chosen name fits several; `NoSuchChannel`.
    """
    if wanted is None and composite is None:
        return image, _known_channels(image, name)
    numbers = _colours(image) if wanted is None else _numbers(image, wanted, name)
    chosen = _with_channels(image, numbers)
    if composite and len(numbers) > 1:
        note = f"The channels were combined by their {_COMPOSITES[composite]}, each normalised by its own percentiles."
        chosen = Image(combine(chosen.pixels, composite), ChannelKind.GREY, (), image.pixel_size, (*image.notes, note))
    return chosen, tuple(_labels(image)[number - 1] for number in numbers)


def channel_numbers(image: Image, wanted: Choice | None, name: str) -> list[int]:
    """The numbers, from 1, of the wanted channels; of all channels if `wanted` is None.

    Raises `NoSuchChannel`, `AmbiguousChannels`.
    """
    return list(range(1, image.pixels.shape[2] + 1)) if wanted is None else _numbers(image, wanted, name)


def channels_for_model(image: Image, labels: tuple[str, ...], channels: Channels, name: str) -> tuple[str, ...]:
    """What the result says of the channels that `choose_channels` returned, for a model of `grey` or `rgb` input.

    Raises `AmbiguousChannels` if the model can't take several separate channels as they are.
    """
    if image.kind in _RGB:
        return ("RGB as luminance",) if channels == "grey" else labels
    count = image.pixels.shape[2]
    if image.kind is not ChannelKind.SEPARATE or count == 1 or (channels, count) == ("rgb", 3):
        return labels
    takes = "one channel" if channels == "grey" else "one channel, or three as red, green and blue"
    raise AmbiguousChannels(
        f"{name}: {count} channels are chosen, {', '.join(labels)}, but the model takes {takes}. Choose one with the "
        f"option `channels`, or combine them with the option `composite` (mean or max)"
    )


def describe_channels(image: Image) -> str:
    """The numbers and names of an image's channels, such as `1 (DAPI), 2 (GFP)`, for messages."""
    return ", ".join(_labels(image))


def _known_channels(image: Image, name: str) -> tuple[str, ...]:
    """What the result says of an image whose channels need no choice. Raises `AmbiguousChannels` for others."""
    if image.kind in _RGB:
        return ("RGB",)
    if image.kind is ChannelKind.SEPARATE and image.pixels.shape[2] > 1:
        count = image.pixels.shape[2]
        raise AmbiguousChannels(f"{name}: {count} separate channels, {describe_channels(image)}. {_HOW}")
    return (_labels(image)[0] if len(image.channel_names) == image.pixels.shape[2] else "grey",)


def _with_channels(image: Image, numbers: Sequence[int]) -> Image:
    """The image with only these channels, numbered from 1."""
    pixels = np.ascontiguousarray(image.pixels[..., [number - 1 for number in numbers]])
    kind = ChannelKind.GREY if len(numbers) == 1 else ChannelKind.SEPARATE
    names = _names(image)
    return replace(image, pixels=pixels, kind=kind, channel_names=tuple(names[n - 1] for n in numbers) if names else ())


def _numbers(image: Image, wanted: Choice, name: str) -> list[int]:
    """The numbers of the wanted channels. Raises `NoSuchChannel`, `AmbiguousChannels`."""
    choices = [wanted] if isinstance(wanted, int | str) else list(wanted)
    numbers = [_number(image, choice, name) for choice in choices]
    if not numbers or len(set(numbers)) < len(numbers):
        raise NoSuchChannel(
            f"{name}: the option `channels` is {choices}: give different channels, of {describe_channels(image)}"
        )
    return numbers


def _number(image: Image, choice: int | str, name: str) -> int:
    """The number of a channel given by number or name: exact, or else without regard to case."""
    count, names = image.pixels.shape[2], _names(image)
    if isinstance(choice, int):
        found = [choice] if 1 <= choice <= count else []
    else:
        found = [number for number, known in enumerate(names, 1) if known == choice] or [
            number for number, known in enumerate(names, 1) if known.strip().casefold() == choice.strip().casefold()
        ]
    if len(found) == 1:
        return found[0]
    if found:
        raise AmbiguousChannels(
            f"{name}: {len(found)} channels are called {choice!r}; choose by number, of {describe_channels(image)}"
        )
    digits = isinstance(choice, str) and choice.strip().isdecimal()
    hint = "; a number is given without quotes" if digits else ""
    raise NoSuchChannel(f"{name}: no channel {choice!r}; its channels are {describe_channels(image)}{hint}")


def _colours(image: Image) -> list[int]:
    """The numbers of all channels except alpha."""
    has_alpha = image.kind in (ChannelKind.GREY_ALPHA, ChannelKind.RGBA)
    return list(range(1, image.pixels.shape[2] + 1 - has_alpha))


def _names(image: Image) -> tuple[str, ...]:
    """A name for each channel; empty if they have none."""
    names = image.channel_names or _NAMES.get(image.kind, ())
    return names if len(names) == image.pixels.shape[2] else _NAMES.get(image.kind, ())


def _labels(image: Image) -> list[str]:
    """Number and name of each channel, such as `2 (DAPI)`, or `2` without a name."""
    count = image.pixels.shape[2]
    names = _names(image) or ("",) * count
    return [f"{number} ({_short(known)})" if known else str(number) for number, known in enumerate(names, 1)]


def _short(name: str) -> str:
    """A name from a file's metadata, as one short line."""
    text = "".join(letter if letter.isprintable() else " " for letter in name)
    return text if len(text) <= _MAX_NAME else f"{text[: _MAX_NAME - 1]}…"
