"""The processes of a stack: their names, memory and open files."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import psutil

#: Part of the command line → name.
_PROGRAMS = {
    "redis-server": "redis-server",
    "valkey-server": "redis-server",
    "maskq.workers.device.process": "device",
    "maskq.workers.cluster": "cluster",
}


@dataclass(frozen=True)
class Usage:
    """What a process uses at one moment."""

    #: Resident memory, bytes.
    memory: int
    #: Open file descriptors.
    descriptors: int


def usage() -> dict[str, Usage]:
    """Return what this process (`client`) and all its descendants use, by name.

    If several run one program, the second is `cluster 2`, and so on, by age: so a process keeps its name.
    """
    usages: dict[str, Usage] = {}
    for name, process in _named():
        try:
            with process.oneshot():
                usages[name] = Usage(process.memory_info().rss, process.num_fds())
        except psutil.NoSuchProcess:
            continue
    return usages


def program(process: psutil.Process) -> str:
    """Return the name of the program that a process runs: `device`, `cluster`, `redis-server` or its executable."""
    try:
        command = " ".join(process.cmdline())
        return next((name for part, name in _PROGRAMS.items() if part in command), process.name())
    except psutil.NoSuchProcess:
        return "gone"


def _named() -> Iterator[tuple[str, psutil.Process]]:
    client = psutil.Process()
    yield "client", client
    counts: dict[str, int] = {}
    for process in sorted(client.children(recursive=True), key=lambda child: (child.create_time(), child.pid)):
        name = program(process)
        counts[name] = counts.get(name, 0) + 1
        yield name if counts[name] == 1 else f"{name} {counts[name]}", process
