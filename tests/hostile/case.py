"""A file made by hand, and the outcomes that are right for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True)
class Case:
    """A file that a guard refuses, or that is so unusual that readers fail on it."""

    #: The right outcomes: error types, or `pixels`. None if any outcome is right.
    expected: frozenset[str] | None
    make: Callable[[], bytes]


Cases: TypeAlias = dict[str, Case]

PIXELS, LARGE, CUT, NOT, EMPTY = "pixels", "ImageTooLarge", "TruncatedImage", "NotAnImage", "EmptyImage"
PAGES, NAN = "MultiPageImage", "NonFiniteImage"
#: Only of jobs, which have to choose a channel: `read_image` gives them all.
AMBIGUOUS = "AmbiguousChannels"


def case(outcomes: str, make: Callable[[], bytes] | bytes) -> Case:
    """A case whose right outcomes are the words of `outcomes`; if there are none, any outcome is right."""
    function = (lambda: make) if isinstance(make, bytes) else make
    return Case(frozenset(outcomes.split()) or None, function)
