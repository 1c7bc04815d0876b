"""Hundreds of hostile files, read one after another by one process, which lives and says what is wrong with each."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from maskq.segmentation import errors
from tests.hostile import LIMITS, make, names, seed, wanted

NAMES = names(seed())
#: Megabytes that decoding may take at most, whatever the file: Pillow lets a PNG's texts have 64, and what images
#: within the limits take is less.
MOST_GROWN = 128
#: Megabytes that the process may have kept after all of them.
MOST_KEPT = 64
#: Seconds of a machine that has others to serve.
MOST_SECONDS = 20
TYPES = {kind.__name__ for kind in errors.ImageError.__subclasses__()}


@pytest.fixture(scope="module")
def reader() -> Iterator[subprocess.Popen[str]]:
    program = [sys.executable, "-W", "ignore", "-m", "tests.hostile.reader"]
    pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(program, env=os.environ | {"OMP_NUM_THREADS": "1"}, **pipes) as started:
        yield started
        assert started.stdin
        started.stdin.close()


@pytest.fixture(scope="module")
def answers(reader: subprocess.Popen[str]) -> dict[str, dict[str, Any]]:
    """What came of each input, up to the one that ended the process."""
    assert reader.stdin and reader.stdout
    found: dict[str, dict[str, Any]] = {}
    for name in NAMES:
        print(name, file=reader.stdin, flush=True)
        line = reader.stdout.readline()
        assert line, f"the reader died of {name!r}, with status {reader.wait()}"
        found[name] = json.loads(line)
    return found


def test_there_are_more_than_three_hundred_of_every_kind() -> None:
    print(f"HOSTILE_SEED={seed()}")
    assert len(NAMES) == len(set(NAMES)) > 300
    assert {"png", "jpeg", "tiff", "webp", "bmp", "npy"} <= {name.partition("/")[0] for name in NAMES}


def test_an_input_is_made_again_from_its_name() -> None:
    assert all(make(name) == make(name) for name in NAMES[::7])
    assert make("png/flipped@1") != make("png/flipped@2")


def test_each_is_an_image_within_the_limits_or_a_typed_error(answers: dict[str, dict[str, Any]]) -> None:
    for name, found in answers.items():
        if found["kind"] == "pixels":
            height, width, channels = found["shape"]
            assert 0 < height * width <= LIMITS.max_pixels and 0 < channels <= 16, name
        else:
            assert found["kind"] in TYPES and found["message"].startswith("cells: "), name


def test_each_trap_is_seen_for_what_it_is(answers: dict[str, dict[str, Any]]) -> None:
    wrong = {
        name: (found["kind"], found["message"])
        for name, found in answers.items()
        if (right := wanted(name)) is not None and found["kind"] not in right
    }
    assert not wrong


def test_none_says_it_ran_out_of_memory_or_quotes_a_file_at_length(answers: dict[str, dict[str, Any]]) -> None:
    for name, found in answers.items():
        assert "not enough memory" not in found["message"] and "object at 0x" not in found["message"], name
        assert len(found["message"]) < 1_000 and "\n" not in found["message"], name


def test_none_takes_long_or_much_memory(answers: dict[str, dict[str, Any]]) -> None:
    for name, found in answers.items():
        assert found["grown"] <= MOST_GROWN and found["seconds"] <= MOST_SECONDS, (name, found)


def test_no_memory_is_kept(answers: dict[str, dict[str, Any]]) -> None:
    settled = list(answers.values())[len(answers) // 4]
    assert list(answers.values())[-1]["rss"] - settled["rss"] <= MOST_KEPT
