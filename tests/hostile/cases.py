"""All files made by hand, by name."""

from __future__ import annotations

from functools import cache

from . import arrays, other_files, pictures, tiffs
from .case import Case, Cases


@cache
def cases() -> Cases:
    """Name → case."""
    return arrays.cases() | tiffs.cases() | pictures.cases() | other_files.cases()


__all__ = ["Case", "cases"]
