"""Thousands of small jobs through one stack: does anything grow?

The images are crops of 256² as PNG, the network one that costs nothing (see `identity`), so that the queue's own parts
do as much as they can. Every few seconds the resident memory and open descriptors of every process are noted, and the
bytes that Redis has in use. What Redis keeps of ended jobs goes after `_RETENTION_S` seconds, in Redis's own time;
so `redis, at rest` is its memory once all jobs that came first, and all of the run, are gone: what is never freed.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from statistics import median
from typing import Any

from redis import Redis
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from maskq.producer.client.client import Client
from maskq.producer.client.job import Result
from maskq.workers.local.stack import running

from .harness import Case
from .identity import identity_model
from .pictures import crops
from .processes import held
from .stacks import embedded

_JOBS, _QUICK = 20_000, 1000
#: An image too is kept for this long, from when it was sent: more than the first job waits for the model.
_RETENTION_S = 10
_SAMPLES = 80
#: Memory may differ between the first and the last quarter by so many percent.
_TARGET = 3.0

Results = Generator[Result, None, None]


@dataclass(frozen=True)
class Samples:
    """What was seen of each process, and of Redis's data, in the order of time."""

    #: MB.
    memory: dict[str, list[float]] = field(default_factory=dict)
    descriptors: dict[str, list[float]] = field(default_factory=dict)
    #: kB of Redis's data for each key: it holds the jobs of the last seconds, more of them when more end in a second.
    per_key: list[float] = field(default_factory=list)

    def add(self, redis: Redis) -> None:
        """Look at everything once."""
        for name, now in held().items():
            self.memory.setdefault(name, []).append(now.memory / 1e6)
            self.descriptors.setdefault(name, []).append(now.descriptors)
        self.per_key.append(1000 * _in_use(redis) / max(1, int(redis.dbsize())))

    def cases(self) -> list[Case]:
        """Per series, the median of its last quarter (`ours`) over that of its first.

        A process that was there for less than half of the time is none: Redis forks one that writes its file anew.
        """
        lasting = {name: values for name, values in self.memory.items() if len(values) > len(self.per_key) / 2}
        processes = [_growth(name, values, "MB", self.descriptors[name]) for name, values in lasting.items()]
        return [*processes, _growth("redis, in use, a key", self.per_key, "kB")]


def run(quick: bool, images: Path | None) -> list[Case]:
    """The growth of every process's memory and descriptors, of Redis's data under load, and of what it is left with."""
    count, samples = _QUICK if quick else _JOBS, Samples()
    with _stack() as (jobs, redis):
        with closing(jobs()) as results:
            _fill(results)
        before = _rest(redis)
        with closing(jobs()) as results:
            _fill(results)
            rate = _take(results, count, redis, samples)
        after = _rest(redis)
    keys = {"keys": f"{before[1]} to {after[1]}", "jobs": count, "jobs_per_s": round(rate, 1)}
    return [*samples.cases(), _case("redis, at rest", before[0], after[0], "MB", **keys)]


@contextmanager
def _stack() -> Iterator[tuple[Callable[[], Results], Redis]]:
    """What gives endless jobs' results, one after another, and the Redis that they go through."""
    with tempfile.TemporaryDirectory() as folder:
        model = identity_model(Path(folder))
        settings = embedded(models=folder, retention_s=_RETENTION_S)
        with (
            running(settings) as stack,
            Client(settings=stack.settings) as client,
            Redis.from_url(stack.settings.broker_url or "") as redis,
        ):
            pictures = crops(64)
            yield lambda: client.map(cycle(pictures), model=model), redis


def _fill(results: Results) -> None:
    """Take jobs until as many expire as are sent: caches are full then, and heaps have found their size."""
    until = time.monotonic() + 1.5 * _RETENTION_S
    while time.monotonic() < until:
        next(results)


def _take(results: Results, count: int, redis: Redis, samples: Samples) -> float:
    """Take so many jobs, looking at everything in between; returns the jobs per second."""
    began, every = time.monotonic(), max(1, count // _SAMPLES)
    with _bar() as progress:
        for number in progress.track(range(count), description="jobs"):
            if number % every == 0:
                samples.add(redis)
            result = next(results)
            assert result.labels.shape == result.size
    return count / (time.monotonic() - began)


def _rest(redis: Redis) -> tuple[float, int]:
    """MB that Redis uses, and the keys it has, once no job is left."""
    time.sleep(1.5 * _RETENTION_S)
    return _in_use(redis), int(redis.dbsize())


def quarters(values: list[float]) -> tuple[float, float]:
    """The medians of the first and the last quarter of one value or more."""
    size = max(1, len(values) // 4)
    return median(values[:size]), median(values[-size:])


def _growth(name: str, values: list[float], unit: str, descriptors: list[float] | None = None) -> Case:
    told: dict[str, Any] = {"samples": len(values)}
    if descriptors:
        told["descriptors"] = "{:g} to {:g}".format(*quarters(descriptors))
    return _case(name, *quarters(values), unit, **told)


def _case(name: str, before: float, after: float, unit: str, **more: Any) -> Case:
    grown = round(100 * (after / before - 1), 2)
    return Case.amount(name, after, before, unit, growth_percent=grown, target_percent=_TARGET, **more)


def _in_use(redis: Redis) -> float:
    told: Any = redis.info("memory")
    return float(told["used_memory"]) / 1e6


def _bar() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True))
