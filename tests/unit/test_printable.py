"""What others write does not steer the terminal or the pager that shows it."""

from __future__ import annotations

import io
import logging

from hypothesis import given
from hypothesis import strategies as st

from maskq.producer.client.sources import read_source
from maskq.producer.printable import UNPRINTABLE, make_printable, printable, printable_name
from maskq.producer.schema import JobSpec

NASTY = "a\x1b]0;title\x07\x9b31m\r\u202egnp"
SHOWN = r"a\x1b]0;title\x07\x9b31m\r\u202egnp"


@given(st.text(st.characters(codec=None)))
def test_a_name_is_one_printable_line_and_stays_as_it_is_then(text: str) -> None:
    name = printable_name(text)
    assert not UNPRINTABLE.search(name) and "\n" not in name and len(name) <= 255
    assert printable_name(name) == name


def test_lines_tabs_and_other_scripts_stay() -> None:
    text = "one\ttwo\näöü 細胞 🔬"
    assert printable(text) == text


def test_the_name_of_a_job_is_printable_however_it_is_given() -> None:
    assert JobSpec(name=NASTY).name == SHOWN
    assert read_source(b"image", NASTY + "\udcff", 100)[1] == f"{SHOWN}?"  # a file's name may have any bytes
    assert JobSpec.model_validate_json(JobSpec.model_construct(name=NASTY).model_dump_json()).name == SHOWN


def test_logs_are_printable_with_their_tracebacks() -> None:
    stream = io.StringIO()
    logger, handler = logging.Logger("test"), logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
    logger.addHandler(handler)
    make_printable(logger)
    try:
        raise ValueError(NASTY)
    except ValueError:
        logger.exception("%s failed", NASTY)
    assert stream.getvalue().startswith(f"ERROR {SHOWN} failed\nTraceback")
    assert stream.getvalue().endswith(f"ValueError: {SHOWN}\n")
