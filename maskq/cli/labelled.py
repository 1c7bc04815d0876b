"""What `train` and `evaluate` do with a data set before long work: tell what is left out, and check the labels."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer
from rich.progress import track

from .terminal import stderr

if TYPE_CHECKING:
    from maskq.segmentation.dataset import Facts, Pair

_Item = TypeVar("_Item")

Channel = Annotated[
    str | None, typer.Option(help="The channel of the images, by number from 1 or by name, if they have several.")
]


def tell(sentence: str) -> None:
    """Print one line on standard error."""
    stderr.print(sentence, markup=False, soft_wrap=True)


def with_channel(data: Iterable[Pair], channel: str | None) -> list[Pair]:
    """The pairs, with the channel that the command names."""
    chosen = int(channel) if channel and channel.isdecimal() else channel
    return [replace(pair, channel=chosen) for pair in data]


def check_labels(data: Sequence[Pair], *, with_images: bool = False) -> list[Facts]:
    """Read all labels, and with `with_images` the images too, so that errors come before long work.

    Raises the errors of `Pair.read`, and `InvalidDataset` if the labels are masks of foreground or background has a
    number.
    """
    from maskq.segmentation.dataset import (
        examine,
        label_warnings,
        refuse_foreground_masks,
        refuse_numbered_background,
    )

    facts = [examine(pair, image=with_images) for pair in _shown(data, "checking")]
    refuse_numbered_background(facts)
    refuse_foreground_masks(facts)
    for warning in label_warnings(facts):
        tell(warning)
    return facts


def show_reading(data: Sequence[Pair]) -> Iterable[Pair]:
    """The pairs, with a bar while they are read."""
    return _shown(data, "reading")


def _shown(items: Sequence[_Item], step: str) -> Iterable[_Item]:
    """The items, with a bar on standard error if that is a terminal; it goes when all are done."""
    return track(items, step, len(items), console=stderr, disable=not stderr.is_terminal, transient=True)
