"""Chooses a format by the header `Accept` of an HTTP request (RFC 9110)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import FormatNotApplicable, FormatUnavailable
from .registry import FORMATS
from .result_format import ResultFormat

if TYPE_CHECKING:
    from ..client.job import Result

_JSON = "application/json"


def media_ranges(accept: str) -> list[str]:
    """The media ranges of the header, such as `image/*`, the most wanted first; those with `q=0` are left out."""
    ranges: list[tuple[float, int, str]] = []
    for part in accept.lower().split(","):
        name, *parameters = (piece.strip() for piece in part.split(";"))
        quality = next((piece[2:] for piece in parameters if piece.startswith("q=")), "1")
        if name and (weight := _number(quality)) > 0:
            ranges.append((-weight, len(ranges), name))
    return [name for _, _, name in sorted(ranges)]


def wants_json(ranges: list[str]) -> bool:
    """Whether the most wanted range that any format has is JSON's, or there is none, so that JSON is the default."""
    types = {media_type for one in FORMATS.values() for media_type in one.media_types.values()}
    first = next((name for name in ranges if any(_matches(name, media_type) for media_type in types)), "*/*")
    return _matches(first, _JSON)


def accepted_format(ranges: list[str], result: Result) -> ResultFormat:
    """The first format that a range allows, and that can represent the result without its image.

    Raises `FormatNotApplicable` if there is none.
    """
    for name in ranges:
        for one in FORMATS.values():
            if _matches(name, one.media_type(result)) and not one.needs_image and _is_possible(one, result):
                return one
    raise FormatNotApplicable(f"no format of this result has a media type of {', '.join(ranges)}")


def _is_possible(one: ResultFormat, result: Result) -> bool:
    try:
        one.check(result)
    except (FormatNotApplicable, FormatUnavailable):
        return False
    return True


def _matches(media_range: str, media_type: str) -> bool:
    kind = media_range.removesuffix("*")
    return media_range in ("*/*", media_type) or (kind.endswith("/") and media_type.startswith(kind))


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0
