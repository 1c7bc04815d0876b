"""`Accept` chooses a format as RFC 9110 says; JSON is the default."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskq import FormatNotApplicable
from maskq.producer.formats.accept import accepted_format, media_ranges, wants_json
from tests.results import result_of, stack_result

from .images import example


@pytest.mark.parametrize(
    ("accept", "ranges"),
    [
        ("", []),
        ("text/csv", ["text/csv"]),
        ("Text/CSV;q=0.2, image/png ; q=0.9, */*;q=0", ["image/png", "text/csv"]),
        ("a/b;q=x, c/d;q=-1, e/f;q=nan, g/h", ["g/h"]),
        ("a/b;charset=utf-8;q=.5,c/d", ["c/d", "a/b"]),
    ],
)
def test_ranges_are_sorted_by_quality(accept: str, ranges: list[str]) -> None:
    assert media_ranges(accept) == ranges


@pytest.mark.parametrize(
    ("accept", "json"),
    [
        ("", True),
        ("*/*", True),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", True),
        ("text/html", True),
        ("application/json", True),
        ("application/*", True),
        ("application/geo+json", False),
        ("application/geo+json;q=0.1, application/json", True),
        ("image/*", False),
        ("text/csv, */*;q=0.1", False),
    ],
)
def test_json_is_the_default(accept: str, json: bool) -> None:
    assert wants_json(media_ranges(accept)) is json


@pytest.mark.parametrize(
    ("accept", "name"),
    [
        ("application/geo+json", "geojson"),
        ("text/*", "table"),
        ("image/*", "labels"),
        ("image/tiff", "ome-tiff"),
        ("application/zip", "imagej"),
        ("image/webp, text/csv;q=.1", "table"),
    ],
)
def test_the_first_format_that_is_allowed_is_chosen(accept: str, name: str) -> None:
    assert accepted_format(media_ranges(accept), result_of(example())).name == name


def test_formats_that_a_stack_lacks_are_passed_over() -> None:
    stack = stack_result(np.stack([example()] * 2))
    assert accepted_format(["image/tiff"], stack).name == "labels"
    with pytest.raises(FormatNotApplicable, match="no format of this result has a media type of image/png, text/plain"):
        accepted_format(["image/png", "text/plain"], stack)


@given(st.text(max_size=80))
def test_any_header_is_read(accept: str) -> None:
    wants_json(media_ranges(accept))
