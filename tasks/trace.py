"""What a worker process does when: spans in Chrome's trace format, one event a line, for `maskq bench --trace`.

Off unless `begin` was called. A span costs a few microseconds then, and next to nothing otherwise.
"""

from __future__ import annotations

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
#: This process's file; a fork opens one of its own.
_file: tuple[int, TextIO] | None = None


def begin(folder: Path, process: str) -> None:
    """From now on, write this process's spans (and its forks') to files in `folder`; `process` is what it is called."""
    global _folder, _process
    _folder, _process = folder, process


@contextmanager
def span(name: str, **about: Any) -> Iterator[None]:
    """The block is something that the calling thread does: `name`, and what to say `about` it."""
    if _folder is None:
        yield
        return
    began = time.monotonic_ns()
    try:
        yield
    finally:
        _write(name, began, time.monotonic_ns(), about)


def spent(name: str, seconds: float, **about: Any) -> None:
    """The calling thread has done this for so many seconds, until now."""
    if _folder is not None:
        now = time.monotonic_ns()
        _write(name, now - round(1e9 * seconds), now, about)


def _write(name: str, began: int, ended: int, about: dict[str, Any]) -> None:
    """One complete event: times in microseconds of a clock that all processes of a machine share."""
    event = {
        "name": name,
        "cat": _process,
        "ph": "X",
        "ts": began / 1000,
        "dur": (ended - began) / 1000,
        "pid": os.getpid(),
        "tid": threading.get_native_id(),
        "args": about | {"thread": threading.current_thread().name},
    }
    _open().write(json.dumps(event) + "\n")


def _open() -> TextIO:
    global _file
    assert _folder is not None
    pid = os.getpid()
    if _file is None or _file[0] != pid:
        _file = pid, (_folder / f"{_process}-{pid}.jsonl").open("a", buffering=1)
    return _file[1]
