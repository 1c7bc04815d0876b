"""Which planes of a stack a job segments: a number, a range, all of them, or a projection to one image.

Numbers count from 1 through the whole stack, in row-major order over its axes: with axes `TZ`, the last Z of the first
T comes before the first Z of the second T.
"""

import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from ..arrays import Pixels
from ..errors import ImageError, ImageTooLarge, MultiPageImage, NoSuchPlane
from .channels import describe_channels
from .image import ChannelKind, Image, Stack

Projection = Literal["max", "mean"]

#: Bytes of all planes of a projection, which pass through memory one by one: about a minute of decoding. The size of
#: the file bounds nothing, since pages can share their pixels.
_MAX_PROJECTED = 16 * 2**30
_PROJECTION = re.compile(r"(max|mean)(?::(.+))?")


def choose_planes(stack: Stack, planes: str | None, name: str) -> Image | list[int]:
    """What `Options.planes` means for a stack: one image, or the numbers of the planes that are jobs of their own.

    Raises `MultiPageImage` if `planes` is None or does not suit the axes, `NoSuchPlane`, and errors of `Stack.read`.
    """
    if planes is None:
        channels, choice = _channels(stack)
        raise MultiPageImage(
            f"{name}: a stack of {stack.count} planes ({_lengths(stack)}) of {stack.size[0]}×{stack.size[1]} pixels"
            f"{channels}, not one image; choose with the option planes: all, a number or range from 1 to "
            f"{stack.count}, or max or mean{choice}"
        )
    if projection := _PROJECTION.fullmatch(planes):
        numbers = plane_numbers(projection[2] or "all", stack, name)
        return project(stack, cast(Projection, projection[1]), numbers, name)
    numbers = plane_numbers(planes, stack, name)
    return numbers if planes == "all" or "-" in planes else single_plane(stack, numbers[0])


def check_single_image(planes: str | None, name: str, image: Image | None = None) -> None:
    """Raises `NoSuchPlane` if `Options.planes` asks an image that is no stack for another plane than the first.

    It also does if the option is given for an `image` whose colours may be the planes of a stack.
    """
    if planes is not None and image is not None and image.by_band:
        raise NoSuchPlane(
            f"{name}: one RGB image and no stack by its tags, and its colours are stored one behind another as planes "
            "are: leave the option planes out for RGB; for a stack, save it with its axes (tifffile: "
            "metadata={'axes': 'ZYX'} or photometric='minisblack')"
        )
    numbers = (planes or "all").rpartition(":")[2]
    if numbers not in ("all", "max", "mean", "1", "1-1"):
        raise NoSuchPlane(f"{name}: one image and no stack, so there are no planes {numbers}: leave the option out")


def plane_numbers(planes: str, stack: Stack, name: str) -> list[int]:
    """The numbers of `all`, `7` or `3-10`, from 1. Raises `NoSuchPlane`."""
    if planes == "all":
        return list(range(1, stack.count + 1))
    first, _, last = planes.partition("-")
    begin, end = int(first), int(last or first)
    if not 1 <= begin <= end <= stack.count:
        raise NoSuchPlane(
            f"{name}: no planes {planes}: the stack has {stack.count} ({_lengths(stack)}), so choose from 1 to "
            f"{stack.count}, the lower number first"
        )
    return list(range(begin, end + 1))


def single_plane(stack: Stack, number: int) -> Image:
    """One plane, with a note that says which."""
    image = stack.read(number - 1)
    return replace(image, notes=(*image.notes, f"Plane {number} of {stack.count} ({position(stack, number)})."))


def project(stack: Stack, kind: Projection, numbers: Sequence[int], name: str) -> Image:
    """The maximum or mean of planes of one row of the last axis, each pixel for itself; at most two planes in memory.

    The type of the pixels stays: the mean of integers is rounded, halves to even. NaN, a background that the job
    allows, counts for nothing. Raises `MultiPageImage` if the planes are of several rows or differ in shape or type,
    `ImageTooLarge` if they have too many bytes together.
    """
    row = stack.shape[-1]
    if (numbers[0] - 1) // row != (numbers[-1] - 1) // row:
        raise MultiPageImage(
            f"{name}: a stack of {_lengths(stack)}: a projection goes along {stack.axes[-1]} only; choose the planes "
            f"of one {stack.axes[-2]}, such as {kind}:1-{row}"
        )
    first = stack.read(numbers[0] - 1)
    check_bytes(len(numbers) * first.pixels.nbytes, _MAX_PROJECTED, name)
    others = (_alike(stack.read(number - 1), first, number, name).pixels for number in numbers[1:])
    pixels = _maximum(first.pixels, others) if kind == "max" else _mean(first.pixels, others)
    what = "maximum" if kind == "max" else "mean"
    rounded = ", rounded" if kind == "mean" and pixels.dtype.kind != "f" else ""
    note = f"The {what} of planes {numbers[0]} to {numbers[-1]} of {stack.count} ({_lengths(stack)}){rounded}."
    return replace(first, pixels=pixels, notes=(*first.notes, note))


def position(stack: Stack, number: int) -> str:
    """Where a plane is on each axis, from 1, such as `T=2 Z=5`."""
    indices = np.unravel_index(number - 1, stack.shape)
    return " ".join(f"{axis}={index + 1}" for axis, index in zip(stack.axes, indices, strict=True))


def chosen_axes(stack: Stack, numbers: Sequence[int]) -> tuple[str, tuple[int, ...]]:
    """The axes and their lengths of the chosen planes: the stack's own, those of one row of it, or `I`, a sequence."""
    row = stack.shape[-1]
    if len(numbers) == stack.count:
        return stack.axes, stack.shape
    if (numbers[0] - 1) // row == (numbers[-1] - 1) // row:
        return stack.axes[-1], (len(numbers),)
    return "I", (len(numbers),)


def check_amount(stack: Stack, numbers: Sequence[int], max_planes: int, max_bytes: int, name: str) -> None:
    """Raises `ImageTooLarge` for more planes than `max_planes`, or if they must have more than `max_bytes` bytes."""
    if len(numbers) > max_planes:
        raise ImageTooLarge(
            f"{name}: {len(numbers):,} planes, over the limit of {max_planes:,}; choose a range with the option planes"
        )
    check_bytes(len(numbers) * math.prod(stack.size), max_bytes, name)


def check_bytes(size: int, max_bytes: int, name: str) -> None:
    """Raises `ImageTooLarge` if the pixels of all planes take more than `max_bytes` bytes."""
    if size > max_bytes:
        raise ImageTooLarge(
            f"{name}: the planes have more than {max_bytes:,} bytes together, the limit; choose a range with the "
            f"option planes"
        )


def _lengths(stack: Stack) -> str:
    return ", ".join(f"{axis}={length}" for axis, length in zip(stack.axes, stack.shape, strict=True))


def _channels(stack: Stack) -> tuple[str, str]:
    """How many channels a plane has, and which option chooses them, if the first can be read and has several."""
    try:
        image = stack.read(0)
    except ImageError:
        return "", ""
    count = image.pixels.shape[2]
    if count == 1:
        return "", ""
    if image.kind is not ChannelKind.SEPARATE:
        return f", {image.kind.value}", ""
    choice = f"; its channels are chosen with the option channels: {describe_channels(image)}"
    return f" and {count} channels (C={count})", choice


def _alike(image: Image, first: Image, number: int, name: str) -> Image:
    if (image.pixels.shape, image.pixels.dtype) != (first.pixels.shape, first.pixels.dtype):
        raise MultiPageImage(
            f"{name}: plane {number} is {image.pixels.shape} {image.pixels.dtype}, others are {first.pixels.shape} "
            f"{first.pixels.dtype}: these are several images and can't be projected"
        )
    return image


def _maximum(first: Pixels, others: Iterable[Pixels]) -> Pixels:
    largest: Callable[..., Any] = np.fmax if first.dtype.kind == "f" else np.maximum
    pixels = first.copy()
    for other in others:
        largest(pixels, other, out=pixels)
    return pixels


def _mean(first: Pixels, others: Iterable[Pixels]) -> Pixels:
    total: NDArray[np.float64] = np.zeros(first.shape, np.float64)
    count = np.zeros(first.shape, np.uint32)
    for pixels in chain((first,), others):
        known = ~np.isnan(pixels) if pixels.dtype.kind == "f" else np.ones((), np.bool_)
        np.add(total, pixels, out=total, where=known)
        count += known
    with np.errstate(invalid="ignore"):
        mean = np.divide(total, count, out=total)
    return (mean if first.dtype.kind == "f" else np.rint(mean, out=mean)).astype(first.dtype)
