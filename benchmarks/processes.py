"""The processes of a stack by names that people know, and what they hold."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import psutil

_PROGRAMS = ("redis-server", "maskq.workers.device.process", "maskq.workers.cluster")


@dataclass(frozen=True)
class Held:
    """What a process has at one moment."""

    #: Resident memory, bytes.
    memory: int
    #: Open file descriptors.
    descriptors: int


def held() -> dict[str, Held]:
    """What this process, `client`, and every one below it hold.

    Of several of one program the second is `cluster 2`, and so on: by age, so that a name stays with its process.
    """
    found: dict[str, Held] = {}
    for name, process in _named():
        try:
            with process.oneshot():
                found[name] = Held(process.memory_info().rss, process.num_fds())
        except psutil.NoSuchProcess:
            continue
    return found


def _named() -> Iterator[tuple[str, psutil.Process]]:
    own = psutil.Process()
    yield "client", own
    counts: dict[str, int] = {}
    for process in sorted(own.children(recursive=True), key=lambda one: (one.create_time(), one.pid)):
        program = _program(process)
        counts[program] = counts.get(program, 0) + 1
        yield program if counts[program] == 1 else f"{program} {counts[program]}", process


def _program(process: psutil.Process) -> str:
    try:
        line = " ".join(process.cmdline()).replace("valkey-server", "redis-server")
        return next((name.removeprefix("workers.") for name in _PROGRAMS if name in line), process.name())
    except psutil.NoSuchProcess:
        return "gone"
