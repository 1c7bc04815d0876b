"""The options of a job (`producer.schema.Options`) as options of commands: `maskq run` and `maskq submit`."""

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Annotated, Any, get_type_hints

import typer

from maskq.producer.schema import ChannelChoice, Options

from .options import Diameter, MinPixels, SeedThreshold, Tta

_CHANNELS, _PLANES, _PART = "Channels", "Stacks", "Part of the file"


@dataclass(frozen=True)
class JobFlags:
    """The values of the command's options, each named for a field of `Options`."""

    seed_threshold: SeedThreshold = None
    min_pixels: MinPixels = None
    tta: Tta = False
    diameter: Diameter = None
    nan_as_background: Annotated[
        bool, typer.Option("--nan-as-background", help="Take NaN and infinite pixels as background.")
    ] = False
    channels: Annotated[
        str | None,
        typer.Option(metavar="CHANNEL,…", help="Channels by number from 1 or name.", rich_help_panel=_CHANNELS),
    ] = None
    composite: Annotated[
        str | None,
        typer.Option(
            metavar="mean|max",
            help="How several channels, each normalised, become one.",
            rich_help_panel=_CHANNELS,
        ),
    ] = None
    axes: Annotated[
        str | None,
        typer.Option(metavar="AXES", help="The axes of .npy files, such as CYX.", rich_help_panel=_CHANNELS),
    ] = None
    planes: Annotated[
        str | None,
        typer.Option(metavar="PLANES", help="all, 3, 3-10, or max, mean, max:3-10.", rich_help_panel=_PLANES),
    ] = None
    link: Annotated[
        str | None,
        typer.Option(
            metavar="iou",
            help="Join objects of consecutive planes by intersection over union.",
            rich_help_panel=_PLANES,
        ),
    ] = None
    link_threshold: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Minimum of it for --link; default: 0.25.", rich_help_panel=_PLANES),
    ] = None
    scene: Annotated[int | None, typer.Option(min=1, help="Which image of a file, from 1.", rich_help_panel=_PART)] = (
        None
    )
    level: Annotated[
        int | None, typer.Option(min=0, help="Level of a pyramid; 0 is the full image.", rich_help_panel=_PART)
    ] = None
    resolution: Annotated[
        float | None, typer.Option(help="Micrometres per pixel to read a slide at.", rich_help_panel=_PART)
    ] = None
    region: Annotated[
        str | None,
        typer.Option(metavar="X,Y,W,H", help="Pixels of the full image, or tissue.", rich_help_panel=_PART),
    ] = None

    def options(self) -> Options:
        """The job's options. Raises `ValidationError`."""
        given: dict[str, Any] = {item.name: getattr(self, item.name) for item in fields(self)}
        if self.channels is not None:
            given["channels"] = _channels(self.channels)
        if self.axes is not None:
            given["axes"] = self.axes.upper()
        if self.region is not None and self.region != "tissue":
            given["region"] = [part.strip() for part in self.region.split(",")]
        return Options(**{name: value for name, value in given.items() if value is not None})


def with_job_options(command: Callable[..., int]) -> Callable[..., int]:
    """The command with one option for each field of `JobFlags` in place of its parameter `options: Options`."""
    hints = get_type_hints(JobFlags, include_extras=True)
    flags = [
        inspect.Parameter(item.name, inspect.Parameter.KEYWORD_ONLY, default=item.default, annotation=hints[item.name])
        for item in fields(JobFlags)
    ]
    signature = inspect.signature(command, eval_str=True)
    own = [
        parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for parameter in signature.parameters.values()
        if parameter.name != "options"
    ]

    @functools.wraps(command)
    def with_flags(**arguments: Any) -> int:
        values = {item.name: arguments.pop(item.name) for item in fields(JobFlags)}
        return command(**arguments, options=JobFlags(**values).options())

    parameters = [*own, *flags]
    with_flags.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    with_flags.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return with_flags


def _channels(text: str) -> ChannelChoice | list[ChannelChoice]:
    """`2` → 2, `DAPI` → "DAPI", `1,DAPI` → [1, "DAPI"]. A name that has a comma or is a number needs its number."""
    parts = [part.strip() for part in text.split(",")]
    choices: list[ChannelChoice] = [int(part) if part.isdecimal() else part for part in parts]
    return choices[0] if len(choices) == 1 else choices
