"""Two processes beside one, of either kind, and what a job costs the Redis that they share.

Three stacks stand side by side, each with a Redis of its own, and are given jobs in turn: one device process and one
cluster process; two cluster processes; two device processes with half of the cores each. They run the shipped model
(the network decides) and an identity network (the queue decides). `more` is Redis's load a job: `docs/capacity.md`
computes from it. The last case is what jobs that only wait take of its memory.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Any

from redis import Redis

from maskq.producer.client.client import Client
from maskq.workers.device.spec import parse
from maskq.workers.local.redis_server import private_redis
from maskq.workers.local.stack import running
from maskq.workers.programs import device_program
from maskq.workers.supervision.supervisor import Supervisor

from .harness import Case, timed
from .identity import identity_model
from .pictures import crops
from .redis_load import RedisLoad
from .stacks import embedded

_READY_S, _REST_S = 120.0, 5.0
_WAITING = 500
_ONE = "one of each"
#: Device processes and cluster processes.
_STACKS = {_ONE: (1, 1), "two cluster processes": (1, 2), "two device processes": (2, 1)}


@dataclass
class _Measured:
    """A running stack, and what was noted of it."""

    client: Client
    redis: Redis
    seconds: list[float] = field(default_factory=list)
    loads: list[RedisLoad] = field(default_factory=list)

    def turn(self, images: list[bytes], model: str) -> None:
        """Run the images; note the seconds and Redis's load."""
        before = RedisLoad.look(self.redis)
        self.seconds.append(timed(lambda: self.through(images, model)))
        self.loads.append(RedisLoad.look(self.redis) - before)

    def through(self, images: list[bytes], model: str) -> None:
        """Run the images."""
        for result in self.client.map(images, model=model):
            assert result.labels.shape == result.size

    def load(self, jobs: int) -> dict[str, float]:
        """The load of a job, by the median of the rounds."""
        rounds = [load.over(jobs) for load in self.loads]
        return {name: round(median(one[name] for one in rounds), 3) for name in rounds[0]}

    def idle(self) -> dict[str, float]:
        """The load of a second without jobs."""
        before = RedisLoad.look(self.redis)
        time.sleep(_REST_S)
        return {f"idle_{name}": value for name, value in (RedisLoad.look(self.redis) - before).over(_REST_S).items()}


def run(quick: bool, images: Path | None) -> list[Case]:
    """Jobs per second of two processes over those of one, of either kind and by either model; then a waiting job."""
    rounds = 2 if quick else 5
    with tempfile.TemporaryDirectory() as folder, ExitStack() as until_done:
        identity = identity_model(Path(folder))
        stacks = {name: until_done.enter_context(_stack(folder, *counts)) for name, counts in _STACKS.items()}
        idle = stacks[_ONE].idle()
        found = [
            *_compare(stacks, "nuclei", crops(20 if quick else 40), rounds),
            *_compare(stacks, identity, crops(100 if quick else 400), rounds),
        ]
    return [*found, _waiting(idle)]


def _compare(stacks: dict[str, _Measured], model: str, data: list[bytes], rounds: int) -> list[Case]:
    """The stacks in turn with one model, each beside the one that has one process of each kind."""
    fresh = {name: replace(stack, seconds=[], loads=[]) for name, stack in stacks.items()}
    for stack in fresh.values():
        stack.through(data[:16], model)
    for _ in range(rounds):
        for stack in fresh.values():
            stack.turn(data, model)
    rates = {name: len(data) / median(stack.seconds) for name, stack in fresh.items()}
    return [
        Case.rate(f"{model}, {name}", rates[name], rates[_ONE], "jobs/s", jobs=len(data), **stack.load(len(data)))
        for name, stack in fresh.items()
    ]


@contextmanager
def _stack(models: str, devices: int, clusters: int) -> Iterator[_Measured]:
    """A stack with so many processes on the CPU, which share its cores."""
    threads = max(1, (os.cpu_count() or 1) // devices)
    settings = embedded(cluster_processes=clusters, torch_threads=threads, models=models)
    with running(settings) as stack:
        (spec,) = parse("cpu")
        for number in range(2, devices + 1):
            more = device_program(spec, stack.settings)
            stack.supervisor.start(replace(more, name=f"{more.name}-{number}"))
        stack.supervisor.wait_ready(_READY_S)
        with Client(settings=stack.settings) as client, Redis.from_url(stack.settings.broker_url or "") as redis:
            yield _Measured(client, redis)


def _waiting(idle: dict[str, float]) -> Case:
    """Redis's memory for a job that waits, over the bytes of its image; with `idle`, what it does without any."""
    data = crops(_WAITING)
    with (
        tempfile.TemporaryDirectory() as folder,
        _redis(Path(folder)) as url,
        Client(url) as client,
        Redis.from_url(url) as redis,
    ):
        client.submit(data[0])  # tries again until the server is up
        before = _used(redis)
        for image in data:
            client.submit(image, reuse=False)
        taken = (_used(redis) - before) / len(data)
    return Case.amount("memory of a waiting job", taken / 1000, sum(map(len, data)) / len(data) / 1000, "kB", **idle)


@contextmanager
def _redis(folder: Path) -> Iterator[str]:
    """A private Redis without workers."""
    server, supervisor = private_redis(folder), Supervisor(folder)
    supervisor.start(server.program)
    try:
        yield server.url
    finally:
        supervisor.stop(grace_s=5)


def _used(redis: Redis) -> float:
    told: Any = redis.info("memory")
    return float(told["used_memory"])
