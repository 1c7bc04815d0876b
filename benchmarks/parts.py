"""Where Python processes spend their time: py-spy samples them, and the samples are grouped by part of the program.

Only threads that hold the GIL are sampled: what a thread waits for elsewhere can't be told from work on every machine.

py-spy (MIT) is no dependency of maskq: `pip install py-spy`. It may look at processes of the same user, or needs root.
"""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

_SAMPLES_PER_S = 100
_STOP_S = 20

REDIS, CELERY, LEDGER, OTHER = "Redis client", "Celery and kombu", "tasks and ledger", "other"
#: Part of a file's path → part of the program; the first that fits, in this order.
_PARTS = {
    "/celery/": CELERY,
    "/kombu/": CELERY,
    "/billiard/": CELERY,
    "/vine/": CELERY,
    "tasks/transport": CELERY,
    "workers/celery_worker/consumer": CELERY,
    "/PIL/": "decode, encode",
    "segmentation/images": "decode, encode",
    "tasks/field_payload": "pack",
    "segmentation/clustering/fields": "pack",
    "workers/device": "executor",
    "segmentation/": "network, clustering, labels",
    "tasks/": LEDGER,
    "workers/": LEDGER,
    "producer/state": LEDGER,
    "producer/client": "client",
    "producer/": LEDGER,
}


def find_py_spy() -> str | None:
    """Return the program beside this Python, or on PATH."""
    beside = Path(sys.executable).with_name("py-spy")
    return str(beside) if beside.exists() else shutil.which("py-spy")


@contextmanager
def profiled(py_spy: str, pids: Mapping[str, Collection[int]]) -> Iterator[dict[str, Counter[str]]]:
    """Sample processes while the block runs; then the yielded dict has, by name, the seconds with the GIL by part."""
    seconds: dict[str, Counter[str]] = {}
    options = ("--gil", "--full-filenames", "--format", "raw", "--rate", str(_SAMPLES_PER_S))
    with tempfile.TemporaryDirectory() as folder:
        files = {Path(folder, f"{name}-{pid}"): pid for name, some in pids.items() for pid in some}
        running = [
            subprocess.Popen(
                [py_spy, "record", *options, "--pid", str(pid), "--output", str(file)],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            for file, pid in files.items()
        ]
        try:
            yield seconds
        finally:
            for process in running:
                process.send_signal(signal.SIGINT)  # it then writes what it has
            for process in running:
                process.wait(_STOP_S)
        for file in files:
            samples = by_part(file.read_text()) if file.exists() else Counter[str]()
            parts = seconds.setdefault(file.name.rpartition("-")[0], Counter())
            for part, number in samples.items():
                parts[part] += number / _SAMPLES_PER_S  # type: ignore[assignment]


def by_part(stacks: str) -> Counter[str]:
    """Return the number of samples by part; each line is a stack, `function (file:line);… count`, outermost first."""
    parts: Counter[str] = Counter()
    for line in stacks.splitlines():
        stack, _, count = line.rpartition(" ")
        files = re.findall(r"\(([^()]*?)(?::\d+)?\)(?:;|$)", stack)
        parts[part_of(reversed(files))] += int(count)
    return parts


def part_of(files: Iterator[str]) -> str:
    """Return the part that a stack belongs to: that of its innermost file that has one; the innermost comes first.

    What redis-py does for Celery's loop is Celery's.
    """
    in_redis = False
    for file in files:
        in_redis |= "/redis/" in file or "/hiredis/" in file
        for fragment, part in _PARTS.items():
            if fragment in file:
                return REDIS if in_redis and part != CELERY else part
    return REDIS if in_redis else OTHER
