"""Redis's append-only file, read: every transition that was ever made, in order.

Who listens to a channel misses what is published while Redis restarts; the file misses nothing. A job that ended twice
would stand in it twice, though its hash shows one state only.
"""

from __future__ import annotations

import mmap
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from maskq.producer.schema import State

_JOB, _PAYLOAD = b"maskq:job:", b"maskq:payload:"


@dataclass
class StateHistory:
    """What the file has of one job."""

    #: The states it entered and when (seconds since 1970), in order.
    states: list[tuple[State, float]] = field(default_factory=list)
    #: The sha256 of each label file that was stored.
    labels: list[bytes] = field(default_factory=list)

    def entered(self, *states: State) -> int:
        """How often it entered one of the states."""
        return sum(state in states for state, _ in self.states)

    @property
    def endings(self) -> list[State]:
        """Every final state that it entered: one, if all is well."""
        return [state for state, _ in self.states if state.ended]

    @property
    def ended_at(self) -> float | None:
        """When it first entered a final state."""
        return next((at for state, at in self.states if state.ended), None)

    @property
    def begun_again(self) -> int:
        """Attempts beyond one, of both stages."""
        return sum(max(0, self.entered(stage) - 1) for stage in (State.EMBEDDING, State.CLUSTERING))


def read(folder: Path) -> dict[str, StateHistory]:
    """The stories of all jobs, by id, from the files in Redis's data folder (in pieces since Redis 7)."""
    stories: dict[str, StateHistory] = defaultdict(StateHistory)
    for file in _files(folder):
        for command in _commands(file):
            if len(command) < 3:
                continue
            name, key, *rest = command
            if name.upper() in (b"HSET", b"HSETNX") and key.startswith(_JOB):
                _take_fields(stories[key[len(_JOB) :].decode()], rest)
            elif name.upper() == b"SET" and key.startswith(_PAYLOAD):
                job, kind, *_ = key[len(_PAYLOAD) :].decode().split(":")
                if kind == "labels":
                    stories[job].labels.append(sha256(rest[0]).digest())
    return dict(stories)


def _files(folder: Path) -> list[Path]:
    return sorted(folder.glob("appendonlydir/*.incr.aof")) or [folder / "appendonly.aof"]


def _take_fields(story: StateHistory, rest: list[bytes]) -> None:
    """A transition writes the state, and then its time: under the state's name, unless it has had one."""
    for name, value in zip(rest[::2], rest[1::2], strict=True):
        if name == b"state":
            story.states.append((State(value.decode()), 0.0))
        elif name.startswith(b"time:") and story.states and name[5:].decode() == story.states[-1][0]:
            story.states[-1] = (story.states[-1][0], float(value))


def _commands(file: Path) -> Iterator[list[bytes]]:
    """The file's commands; one that was cut short at its end is none."""
    if not file.stat().st_size:  # what can't be mapped
        return
    with file.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
        at = 0
        while at < len(data):
            end = data.find(b"\r\n", at)
            if data[at : at + 1] != b"*" or end < 0:
                at = _next_line(data, end)
                continue
            count, at = int(data[at + 1 : end]), end + 2
            command: list[bytes] = []
            for _ in range(count):
                end = data.find(b"\r\n", at)
                if end < 0:
                    return
                size = int(data[at + 1 : end])
                command.append(data[end + 2 : end + 2 + size])
                at = end + 2 + size + 2
            yield command


def _next_line(data: mmap.mmap, end: int) -> int:
    """After a line that is no command, such as a note of the time."""
    return len(data) if end < 0 else end + 2
