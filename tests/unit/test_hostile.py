"""Hundreds of hostile files, read one after another by one process: each decodes or is refused, and none harms it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from maskq.segmentation import errors
from tests.hostile import LIMITS, cases, expected, make, names, seed

NAMES = names(seed())
#: Megabytes that decoding a file may take at its peak; images within the limits take less.
MAX_GROWTH = 32
#: Megabytes that the process may hold in the end beyond what it holds after a quarter of the files.
MAX_KEPT = 64
#: Seconds that a file may take on a busy machine.
MAX_SECONDS = 20
TYPES = {kind.__name__ for kind in errors.ImageError.__subclasses__()}


@contextmanager
def program(module: str) -> Iterator[subprocess.Popen[str]]:
    """A process that runs a module of `tests.hostile`, which answers each line with a line."""
    command = [sys.executable, "-W", "ignore", "-m", f"tests.hostile.{module}"]
    pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, env=os.environ | {"OMP_NUM_THREADS": "1"}, **pipes) as started:
        yield started
        assert started.stdin
        started.stdin.close()


def answer(process: subprocess.Popen[str], name: str) -> dict[str, Any]:
    """The process's answer for one file. Fails if the file ends the process."""
    assert process.stdin and process.stdout
    print(name, file=process.stdin, flush=True)
    line = process.stdout.readline()
    assert line, f"{name!r} ended the process with status {process.wait()}"
    found: dict[str, Any] = json.loads(line)
    return found


@pytest.fixture(scope="module")
def answers() -> dict[str, dict[str, Any]]:
    """The outcome of each file."""
    with program("reader") as reader:
        return {name: answer(reader, name) for name in NAMES}


def test_there_are_more_than_three_hundred_files_of_every_format() -> None:
    print(f"HOSTILE_SEED={seed()}")
    assert len(NAMES) == len(set(NAMES)) > 300
    assert {"png", "jpeg", "tiff", "webp", "bmp", "npy"} <= {name.partition("/")[0] for name in NAMES}


def test_a_file_is_made_again_from_its_name() -> None:
    assert all(make(name) == make(name) for name in NAMES[::7])
    assert make("png/flipped@1") != make("png/flipped@2")


def test_no_file_made_by_hand_harms_a_library_that_reads_it_without_maskq() -> None:
    """The libraries may raise any error but for memory; a crash or five seconds end the process."""
    with program("libraries") as libraries:
        for name in cases():
            assert "MemoryError" not in answer(libraries, name).values(), name


def test_each_file_decodes_within_the_limits_or_raises_a_typed_error(answers: dict[str, dict[str, Any]]) -> None:
    for name, found in answers.items():
        if found["kind"] == "pixels":
            height, width, channels = found["shape"]
            assert 0 < height * width <= LIMITS.max_pixels and 0 < channels <= 16, name
        else:
            assert found["kind"] in TYPES and found["message"].startswith("cells: "), name


def test_each_file_made_by_hand_has_an_expected_outcome(answers: dict[str, dict[str, Any]]) -> None:
    wrong = {
        name: (found["kind"], found["message"])
        for name, found in answers.items()
        if (right := expected(name)) is not None and found["kind"] not in right
    }
    assert not wrong


def test_no_error_is_about_memory_or_quotes_a_file_at_length(answers: dict[str, dict[str, Any]]) -> None:
    for name, found in answers.items():
        assert "not enough memory" not in found["message"] and "object at 0x" not in found["message"], name
        assert len(found["message"]) < 1_000 and "\n" not in found["message"], name


def test_no_file_takes_long_or_much_memory(answers: dict[str, dict[str, Any]]) -> None:
    for name, found in answers.items():
        assert found["growth"] <= MAX_GROWTH and found["seconds"] <= MAX_SECONDS, (name, found)


def test_no_memory_is_kept(answers: dict[str, dict[str, Any]]) -> None:
    outcomes = list(answers.values())
    assert outcomes[-1]["rss"] - outcomes[len(outcomes) // 4]["rss"] <= MAX_KEPT
