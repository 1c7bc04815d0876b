"""Chooses what of a container is read: the scene, the level, the region, the planes and the channels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor

from ...errors import InvalidJob
from ...schema import ChannelChoice
from . import tissue
from .request import Request
from .series import Box, Series, Size

#: A level whose pixels differ from `options.resolution` by no more than this is read as it is.
_SAME_RESOLUTION = 0.01


@dataclass(frozen=True)
class Part:
    """The part of a series that is read and sent."""

    series: Series
    level: int
    #: In the level's pixels.
    box: Box
    #: Height and width of what is sent, pixels; not the box's size if it is resized.
    size: Size
    #: What was chosen, for the job's name, such as `level 2, x=1000 y=2000 w=4096 h=4096`; empty if nothing was.
    label: str

    @property
    def pixel_size(self) -> tuple[float, float] | None:
        """Height and width of a pixel that is sent, micrometres; None if unknown."""
        stored = self.series.pixel_size_at(self.level)
        if stored is None:
            return None
        (height, width), (sent_h, sent_w) = self.box.size, self.size
        return stored[0] * height / sent_h, stored[1] * width / sent_w


def choose_series(scenes: Sequence[Series], request: Request) -> tuple[Series, str]:
    """The image that `options.scene` names, and a label for it. Raises `InvalidJob`."""
    number = request.options.scene
    if not scenes:
        raise InvalidJob(f"{request.name}: no image in it")
    if number is None:
        if len(scenes) == 1:
            return scenes[0], ""
        raise InvalidJob(f"{request.name}: {len(scenes)} images, choose one with the option scene: {_listed(scenes)}")
    if number > len(scenes):
        raise InvalidJob(f"{request.name}: no scene {number}; it has {len(scenes)}: {_listed(scenes)}")
    return scenes[number - 1], f"scene {number}" if len(scenes) > 1 else ""


def _listed(scenes: Sequence[Series]) -> str:
    shown = [
        f"{number} is {one.levels[0][1]} × {one.levels[0][0]}" + (f" ({one.name[:40]})" if one.name else "")
        for number, one in enumerate(scenes[:10], 1)
    ]
    return ", ".join(shown) + (" …" if len(scenes) > 10 else "")


def choose_part(series: Series, request: Request) -> Part:
    """The level and the box to read, and the size to send it in. Raises `InvalidJob`."""
    level, label = _level(series, request)
    region = request.options.region
    if region == "tissue":
        region, found = tissue.find(series, request), "tissue, "
    else:
        found = ""
    box = _box(series, level, region, request)
    if region:
        label = ", ".join(filter(None, (label, "{}x={} y={} w={} h={}".format(found, *region))))
    size = _sent_size(series, level, box, request)
    _check_pixels(series, size, request)
    return Part(series, level, box, size, label)


def _level(series: Series, request: Request) -> tuple[int, str]:
    """The level of `options.level` or `options.resolution`, by default the full image, and a label for it."""
    options, name = request.options, request.name
    if options.level is not None and options.resolution is not None:
        raise InvalidJob(f"{name}: give the option level or resolution, not both")
    if options.level is not None:
        if options.level >= len(series.levels):
            raise InvalidJob(f"{name}: no level {options.level}; {series.describe_levels()}")
        return options.level, f"level {options.level}"
    if options.resolution is None:
        return 0, ""
    if series.pixel_size is None:
        raise InvalidJob(f"{name}: its pixel size is unknown, so give the option level: {series.describe_levels()}")
    coarsest = options.resolution * (1 + _SAME_RESOLUTION)
    fine = [level for level in range(len(series.levels)) if max(series.pixel_size_at(level) or (0,)) <= coarsest]
    if not fine:
        raise InvalidJob(
            f"{name}: no level is as fine as {options.resolution:g} µm per pixel; {series.describe_levels()}"
        )
    return max(fine, key=lambda level: max(series.pixel_size_at(level) or (0,))), f"{options.resolution:g} µm per pixel"


def _box(series: Series, level: int, region: tuple[int, int, int, int] | None, request: Request) -> Box:
    """The region in the level's pixels: every pixel that it touches. Raises `InvalidJob` if it leaves the image."""
    (full_h, full_w), (height, width) = series.levels[0], series.levels[level]
    if region is None:
        return Box(0, 0, height, width)
    x, y, w, h = region
    if min(x, y) < 0 or min(w, h) < 1 or x + w > full_w or y + h > full_h:
        raise InvalidJob(
            f"{request.name}: the region x={x} y={y} w={w} h={h} is not inside the full image of {full_w} × {full_h}"
        )
    down, right = height / full_h, width / full_w
    top, left = min(floor(y * down), height - 1), min(floor(x * right), width - 1)
    return Box(top, left, min(ceil((y + h) * down), height), min(ceil((x + w) * right), width))


def _sent_size(series: Series, level: int, box: Box, request: Request) -> Size:
    """The box's size; with `options.resolution`, the size that it has at that resolution."""
    wanted, stored = request.options.resolution, series.pixel_size_at(level)
    if wanted is None or stored is None:
        return box.size
    height, width = (
        length if abs(wanted / size - 1) <= _SAME_RESOLUTION else max(1, round(length * size / wanted))
        for length, size in zip(box.size, stored, strict=True)
    )
    return height, width


def _check_pixels(series: Series, size: Size, request: Request) -> None:
    height, width = size
    if height * width > request.max_pixels:
        raise InvalidJob(
            f"{request.name}: {width} × {height} is over the limit of {request.max_pixels:,} pixels; choose with the "
            f"option level, resolution or region (region=tissue finds tissue): {series.describe_levels()}"
        )


def choose_planes(series: Series, request: Request) -> set[int]:
    """The planes that `options.planes` names, from 0. The others are sent empty, so that numbers stay the file's.

    Raises `InvalidJob` if the series is a stack and the option is not given.
    """
    count, wanted = series.planes, request.options.planes
    if wanted is None:
        if count > 1:
            raise InvalidJob(
                f"{request.name}: a stack of {count} planes ({_lengths(series)}){_of_channels(series)}; choose with "
                "the option planes: all, a number or range (3-10), or max or mean for a projection"
                f"{_and_a_channel(series, request)}"
            )
        return {0}
    numbers = wanted.rpartition(":")[2]
    if not numbers[0].isdigit():
        return set(range(count))
    first, _, last = numbers.partition("-")
    chosen = set(range(int(first) - 1, min(int(last or first), count))) & set(range(count))
    if not chosen or int(last or first) > count:
        raise InvalidJob(f"{request.name}: no planes {numbers}; it has {count} ({_lengths(series)})")
    return chosen


def _lengths(series: Series) -> str:
    return ", ".join(f"{axis}={length}" for axis, length in series.axes.items() if length > 1 and axis != "C")


def _of_channels(series: Series) -> str:
    return f" of {series.channel_count} channels (C={series.channel_count})" if series.channel_count > 1 else ""


def _and_a_channel(series: Series, request: Request) -> str:
    """The other option that is missing, if the series has several channels."""
    if series.channel_count == 1 or request.options.channels is not None or request.options.composite:
        return ""
    return f", and a channel with the option channels: {_channel_list(series)}"


def choose_channels(series: Series, request: Request) -> set[int]:
    """The channels that `options.channels` names, from 0. The others are sent empty, so that numbers stay the file's.

    Raises `InvalidJob` if there are several and the option is not given, if it names one that is not there, and if each
    channel is a colour image.
    """
    wanted = request.options.channels
    if series.samples > 1:
        if series.channel_count > 1:
            raise InvalidJob(f"{request.name}: {series.channel_count} channels of colours each, which is not read")
        return {0}
    if wanted is None:
        if request.options.composite:  # of all channels
            return set(range(series.channel_count))
        if series.channel_count > 1:
            raise InvalidJob(
                f"{request.name}: {series.channel_count} channels; choose with the option channels, by number or name: "
                f"{_channel_list(series)}"
            )
        return {0}
    return {_channel(one, series, request) for one in (wanted if isinstance(wanted, tuple) else (wanted,))}


def _channel(wanted: ChannelChoice, series: Series, request: Request) -> int:
    """The channel, from 0; a name is compared exactly, or else without regard to case, as workers do."""
    if isinstance(wanted, int):
        found = [wanted - 1] if wanted <= series.channel_count else []
    else:
        found = [index for index, name in enumerate(series.channels) if name == wanted] or [
            index for index, name in enumerate(series.channels) if name.strip().casefold() == wanted.strip().casefold()
        ]
    if len(found) == 1:
        return found[0]
    if found:
        raise InvalidJob(f"{request.name}: several channels are called {wanted}; choose one by its number")
    raise InvalidJob(f"{request.name}: no channel {wanted}; it has {_channel_list(series)}")


def _channel_list(series: Series) -> str:
    names = series.channels or ("",) * series.channel_count
    shown = [f"{number} ({name[:40]})" if name else str(number) for number, name in enumerate(names[:40], 1)]
    return ", ".join(shown) + (" …" if len(names) > 40 else "")
