"""One trap."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True)
class Trap:
    """A file made to do harm, or one so odd that readers stumble over it."""

    #: The outcomes that are right, by error type or `pixels`; None where any of them is.
    wanted: frozenset[str] | None
    make: Callable[[], bytes]


Traps: TypeAlias = dict[str, Trap]

PIXELS, LARGE, CUT, NOT, EMPTY = "pixels", "ImageTooLarge", "TruncatedImage", "NotAnImage", "EmptyImage"
PAGES, NAN = "MultiPageImage", "NonFiniteImage"


def trap(outcomes: str, make: Callable[[], bytes] | bytes) -> Trap:
    """Outcomes as words; none of them: whatever is right."""
    found = (lambda: make) if isinstance(make, bytes) else make
    return Trap(frozenset(outcomes.split()) or None, found)
