"""Trace spans of worker processes: written, read, merged and drawn."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from maskq.cli.timeline import ON_DEVICE, Timeline
from maskq.tasks import trace


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder to which this process writes its spans during the test."""
    for name in ("_folder", "_process", "_file"):
        monkeypatch.setattr(trace, name, getattr(trace, name))
    trace.begin(tmp_path, "gpu0")
    yield tmp_path
    if trace._file:
        trace._file[1].close()


def event(name: str, begin: float, end: float, thread: str = "device-owner") -> dict[str, object]:
    """One span; times in seconds."""
    return {
        "name": name, "cat": "gpu0", "ph": "X", "ts": 1e6 * begin, "dur": 1e6 * (end - begin), "pid": 1, "tid": 2,
        "args": {"thread": thread},
    }  # fmt: skip


def test_a_span_has_its_name_times_process_and_arguments(folder: Path) -> None:
    with trace.span("decode", job="one"), trace.span("fetch"):
        pass
    first, second = Timeline.read(folder).events
    assert (first["name"], second["name"]) == ("decode", "fetch")
    assert first["ts"] <= second["ts"] <= second["ts"] + second["dur"] <= first["ts"] + first["dur"]
    assert (first["cat"], first["pid"], first["args"]["job"]) == ("gpu0", os.getpid(), "one")


def test_a_span_that_ends_with_an_error_is_written_too(folder: Path) -> None:
    with pytest.raises(ValueError, match="no image"), trace.span("decode"):
        raise ValueError("no image")
    assert [e["name"] for e in Timeline.read(folder).events] == ["decode"]


def test_a_line_cut_off_by_a_kill_is_skipped(tmp_path: Path) -> None:
    (tmp_path / "a-1.jsonl").write_text(json.dumps(event("decode", 1, 2)) + '\n{"name": "fet')
    assert [e["name"] for e in Timeline.read(tmp_path).events] == ["decode"]


def test_busy_is_the_time_in_which_at_least_one_batch_was_on_a_device() -> None:
    spans = [(0, 1), (0.5, 1.5), (0.6, 0.7), (2, 3)]
    timeline = Timeline([event(ON_DEVICE, *span) for span in spans] + [event("decode", 1.5, 2)])
    assert timeline.busy() == pytest.approx(2.5 / 3)
    assert Timeline([]).busy() == 0
    assert timeline.seconds() == pytest.approx({ON_DEVICE: 3.1, "decode": 0.5})


def test_between_keeps_only_events_inside_the_interval() -> None:
    timeline = Timeline([event("decode", 0, 1), event("decode", 1, 2), event("decode", 2, 4)])
    assert [e["ts"] for e in timeline.between(0.5, 3).events] == [1e6]


def test_the_trace_names_its_processes_and_threads_and_the_picture_can_be_opened(tmp_path: Path) -> None:
    timeline = Timeline([event(ON_DEVICE, 0, 0.5), event("decode", 0.2, 0.7, "thread 1"), event("other", 0.7, 0.9)])
    timeline.write(tmp_path / "trace.json")
    events = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    assert {e["args"]["name"] for e in events if e["ph"] == "M"} == {"gpu0", "device-owner", "thread 1"}
    timeline.draw(tmp_path / "trace.png")
    with Image.open(tmp_path / "trace.png") as picture:
        assert picture.width > 500
