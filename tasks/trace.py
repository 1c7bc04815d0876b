"""Tracing: a worker process's spans in Chrome's trace format, one event a line, for `maskq bench --trace`.

Off until `begin` is called. A span then costs a few microseconds, and otherwise next to nothing.
"""

import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

_folder: Path | None = None
_process = ""
#: This process's id and file; a fork opens its own.
_file: tuple[int, TextIO] | None = None


def begin(folder: Path, process: str) -> None:
    """Write the spans of this process and its forks to files in `folder` from now on; `process` is its name there."""
    global _folder, _process
    _folder, _process = folder, process


@contextmanager
def span(name: str, **arguments: Any) -> Iterator[None]:
    """Record the block as a span of the calling thread; `arguments` are shown with it."""
    if _folder is None:
        yield
        return
    started = time.monotonic_ns()
    try:
        yield
    finally:
        _write(name, started, time.monotonic_ns(), arguments)


def spent(name: str, seconds: float, **arguments: Any) -> None:
    """Record a span of the calling thread that took `seconds` and ends now."""
    if _folder is not None:
        now = time.monotonic_ns()
        _write(name, now - round(1e9 * seconds), now, arguments)


def _write(name: str, started: int, ended: int, arguments: dict[str, Any]) -> None:
    """Write one complete event; times are microseconds of a clock that all processes of a machine share."""
    event = {
        "name": name,
        "cat": _process,
        "ph": "X",
        "ts": started / 1000,
        "dur": (ended - started) / 1000,
        "pid": os.getpid(),
        "tid": threading.get_native_id(),
        "args": arguments | {"thread": threading.current_thread().name},
    }
    _open().write(json.dumps(event) + "\n")


def _open() -> TextIO:
    global _file
    assert _folder is not None
    pid = os.getpid()
    if _file is None or _file[0] != pid:
        _file = pid, (_folder / f"{_process}-{pid}.jsonl").open("a", buffering=1)
    return _file[1]
