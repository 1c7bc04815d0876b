"""The polygons of a result's objects, plane by plane."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from .result_format import FormatOptions

if TYPE_CHECKING:
    from ..client.job import Result
    from ..polygons.outlines import Rings


def outlines(result: Result, options: FormatOptions) -> Iterator[tuple[int | None, Rings]]:
    """The number of each plane, None if the image is no stack, and the rings of its objects.

    Raises `FormatUnavailable` if polygons are to be simplified and shapely is not installed.
    """
    from ..polygons.outlines import trace

    for number, labels in zip(result.planes or (None,), result.stored_planes(), strict=True):
        rings = trace(labels)
        if options.simplify:
            from ..polygons.simplify import simplified

            rings = simplified(rings, options.simplify)
        yield number, rings
