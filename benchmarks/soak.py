"""Thousands of small jobs through one stack, to find memory leaks.

The images are crops of 256² as PNG, the network is an identity (see `identity`), so that the queue's own parts work as
fast as they can. Every few seconds the resident memory and open descriptors of every process are recorded, and the
bytes that Redis uses. Redis keeps ended jobs for `_RETENTION_S` seconds and frees them in its own time; so `redis, at
rest` compares its memory after all jobs of the warm-up and after all jobs of the run are gone: what is never freed.
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
from .processes import usage
from .sample_images import crops
from .stack_settings import stack_settings

_JOBS, _QUICK = 20_000, 1000
#: An image is kept for this long too, from its submission: longer than the first job waits for the model.
_RETENTION_S = 10
_SAMPLES = 80
#: Maximum growth of memory from the first to the last quarter, percent.
_TARGET = 3.0

Results = Generator[Result, None, None]


@dataclass(frozen=True)
class Samples:
    """Samples of each process and of Redis's data, in the order of time."""

    #: Resident memory, MB.
    memory: dict[str, list[float]] = field(default_factory=dict)
    descriptors: dict[str, list[float]] = field(default_factory=dict)
    #: Redis's data per key, kB: the number of keys, the jobs of the last seconds, varies with the jobs per second.
    per_key: list[float] = field(default_factory=list)

    def add(self, redis: Redis) -> None:
        """Take one sample of everything."""
        for name, use in usage().items():
            self.memory.setdefault(name, []).append(use.memory / 1e6)
            self.descriptors.setdefault(name, []).append(use.descriptors)
        self.per_key.append(1000 * _in_use(redis) / max(1, int(redis.dbsize())))

    def cases(self) -> list[Case]:
        """Compare, per series, the median of the last quarter (`ours`) with that of the first.

        Short-lived processes (less than half of the samples) are left out: Redis forks one to rewrite its file.
        """
        lasting = {name: values for name, values in self.memory.items() if len(values) > len(self.per_key) / 2}
        processes = [_growth(name, values, "MB", self.descriptors[name]) for name, values in lasting.items()]
        return [*processes, _growth("redis, in use, a key", self.per_key, "kB")]


def run(quick: bool, images: Path | None) -> list[Case]:
    """Measure the growth of each process's memory and descriptors, and of Redis's data under load and at rest."""
    count, samples = _QUICK if quick else _JOBS, Samples()
    with _stack() as (jobs, redis):
        with closing(jobs()) as results:
            _warm_up(results)
        before = _rest(redis)
        with closing(jobs()) as results:
            _warm_up(results)
            rate = _take(results, count, redis, samples)
        after = _rest(redis)
    keys = {"keys": f"{before[1]} to {after[1]}", "jobs": count, "jobs_per_s": round(rate, 1)}
    return [*samples.cases(), _case("redis, at rest", before[0], after[0], "MB", **keys)]


@contextmanager
def _stack() -> Iterator[tuple[Callable[[], Results], Redis]]:
    """Start a stack; yield a function that returns an endless iterator of results, and the stack's Redis."""
    with tempfile.TemporaryDirectory() as folder:
        model = identity_model(Path(folder))
        settings = stack_settings(models=folder, retention_s=_RETENTION_S)
        with (
            running(settings) as stack,
            Client(settings=stack.settings) as client,
            Redis.from_url(stack.settings.broker_url or "") as redis,
        ):
            images = crops(64)
            yield lambda: client.map(cycle(images), model=model), redis


def _warm_up(results: Results) -> None:
    """Run jobs until as many expire as are submitted: then caches are full and heaps have their final size."""
    until = time.monotonic() + 1.5 * _RETENTION_S
    while time.monotonic() < until:
        next(results)


def _take(results: Results, count: int, redis: Redis, samples: Samples) -> float:
    """Run `count` jobs and take samples meanwhile; returns the jobs per second."""
    began, every = time.monotonic(), max(1, count // _SAMPLES)
    with _bar() as progress:
        for number in progress.track(range(count), description="jobs"):
            if number % every == 0:
                samples.add(redis)
            result = next(results)
            assert result.labels.shape == result.size
    return count / (time.monotonic() - began)


def _rest(redis: Redis) -> tuple[float, int]:
    """Return the memory (MB) and the number of keys of Redis once no job is left."""
    time.sleep(1.5 * _RETENTION_S)
    return _in_use(redis), int(redis.dbsize())


def quarters(values: list[float]) -> tuple[float, float]:
    """Return the medians of the first and the last quarter of one or more values."""
    size = max(1, len(values) // 4)
    return median(values[:size]), median(values[-size:])


def _growth(name: str, values: list[float], unit: str, descriptors: list[float] | None = None) -> Case:
    details: dict[str, Any] = {"samples": len(values)}
    if descriptors:
        details["descriptors"] = "{:g} to {:g}".format(*quarters(descriptors))
    return _case(name, *quarters(values), unit, **details)


def _case(name: str, before: float, after: float, unit: str, **more: Any) -> Case:
    grown = round(100 * (after / before - 1), 2)
    return Case.amount(name, after, before, unit, growth_percent=grown, target_percent=_TARGET, **more)


def _in_use(redis: Redis) -> float:
    info: Any = redis.info("memory")
    return float(info["used_memory"]) / 1e6


def _bar() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True))
