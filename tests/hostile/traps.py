"""All traps, by name."""

from __future__ import annotations

from functools import cache

from . import array_traps, picture_traps, stray_traps, tiff_traps
from .trap import Trap, Traps


@cache
def traps() -> Traps:
    """Name → trap."""
    return array_traps.traps() | tiff_traps.traps() | picture_traps.traps() | stray_traps.traps()


__all__ = ["Trap", "traps"]
