"""What is done to a world: each kind by its name, at a time drawn from a seed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from random import Random
from typing import TypeAlias

import psutil

from tests.conftest import until

from .world import World, now

#: Done to a world as long as the block runs, or at its beginning; yields when it has begun.
Fault: TypeAlias = Callable[[World, Random], AbstractContextManager[None]]

#: A process that was killed comes back; another fault may have to wait for that, seconds.
_VICTIM_S = 90


@dataclass(frozen=True)
class Planned:
    """A fault to come."""

    at_s: float
    """Seconds since the run's beginning."""
    kind: str
    lasts_s: float
    seed: int


@dataclass(frozen=True)
class Struck:
    """A fault that was."""

    kind: str
    at: float
    """Seconds since 1970."""
    in_hand: frozenset[str]
    """The jobs that workers had in hand just then."""


def _kill(kind: str) -> Fault:
    @contextmanager
    def kill(world: World, random: Random) -> Iterator[None]:
        _one_of(world, kind, random).kill()
        yield

    return kill


def _stop(*kinds: str) -> Fault:
    @contextmanager
    def stop(world: World, random: Random) -> Iterator[None]:
        victim = _one_of(world, random.choice(kinds), random)
        victim.suspend()
        try:
            yield
        finally:
            with suppress(psutil.NoSuchProcess):
                victim.resume()

    return stop


@contextmanager
def _drop(world: World, random: Random) -> Iterator[None]:
    world.proxy.drop()
    yield


KINDS: dict[str, Fault] = {
    "kill a device worker": _kill("device"),
    "kill a cluster child": _kill("cluster child"),
    "kill the cluster parent": _kill("cluster parent"),
    "kill a supervisor": _kill("supervisor"),
    "kill Redis": _kill("redis"),
    "stop a worker": _stop("device", "cluster parent", "cluster child"),
    "drop connections": _drop,
    "refuse connections": lambda world, random: world.proxy.refusing(),
    "stall connections": lambda world, random: world.proxy.stalled(),
    "delay connections": lambda world, random: world.proxy.delayed(random.uniform(0.02, 0.2)),
}
_LASTS_S = {"refuse connections": 3.0, "stall connections": 4.0, "delay connections": 5.0}


def plan(seed: int, count: int, gap_s: tuple[float, float], stopped_s: float) -> list[Planned]:
    """Each kind as often as the others, in random order, with random gaps; a worker is stopped for `stopped_s`."""
    random = Random(seed)
    kinds: list[str] = []
    while len(kinds) < count:
        kinds += random.sample(list(KINDS), len(KINDS))
    found, at_s = [], 0.0
    for kind in kinds[:count]:
        at_s += random.uniform(*gap_s)
        lasts_s = stopped_s if kind == "stop a worker" else _LASTS_S.get(kind, 0.0)
        found.append(Planned(at_s, kind, lasts_s, random.getrandbits(32)))
    return found


@dataclass
class Chaos:
    """Strikes as planned; a fault that lasts does so while others follow."""

    world: World
    struck: list[Struck] = field(default_factory=list)

    def run(self, planned: Planned, stop: threading.Event) -> None:
        """One fault, from its time to its end."""
        if stop.wait(planned.at_s):
            return
        with KINDS[planned.kind](self.world, Random(planned.seed)):
            at = now()
            self.struck.append(Struck(planned.kind, at, self.world.in_hand()))  # leases outlive who held them
            stop.wait(planned.lasts_s - (now() - at))


def _one_of(world: World, kind: str, random: Random) -> psutil.Process:
    """A living process of the kind, as soon as there is one."""
    living = until(lambda: world.living(kind), _VICTIM_S)
    return random.choice(sorted(living, key=lambda process: process.pid))
