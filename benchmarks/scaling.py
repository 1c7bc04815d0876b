"""Two processes compared with one, of each kind, and the load of a job on the Redis that they share.

Three stacks run at once, each with its own Redis, and get jobs in turn: one device process and one cluster process; two
cluster processes; two device processes with half of the cores each. They run the shipped model (the network is the
bottleneck) and an identity network (the queue is). `more` is Redis's load per job, the input of `docs/capacity.md`. The
last case is the memory that a waiting job takes in Redis.
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
from .redis_load import RedisLoad
from .sample_images import crops
from .stack_settings import stack_settings

_READY_S, _REST_S = 120.0, 5.0
_WAITING = 500
_ONE = "one of each"
#: (device processes, cluster processes).
_STACKS = {_ONE: (1, 1), "two cluster processes": (1, 2), "two device processes": (2, 1)}


@dataclass
class _Measured:
    """A running stack and its measurements."""

    client: Client
    redis: Redis
    seconds: list[float] = field(default_factory=list)
    loads: list[RedisLoad] = field(default_factory=list)

    def turn(self, images: list[bytes], model: str) -> None:
        """Run the images; record the seconds and Redis's load."""
        before = RedisLoad.read(self.redis)
        self.seconds.append(timed(lambda: self.run(images, model)))
        self.loads.append(RedisLoad.read(self.redis) - before)

    def run(self, images: list[bytes], model: str) -> None:
        """Run the images."""
        for result in self.client.map(images, model=model):
            assert result.labels.shape == result.size

    def load(self, jobs: int) -> dict[str, float]:
        """Return the load per job, the median of all rounds."""
        rounds = [load.over(jobs) for load in self.loads]
        return {name: round(median(load[name] for load in rounds), 3) for name in rounds[0]}

    def idle(self) -> dict[str, float]:
        """Measure the load per second without jobs."""
        before = RedisLoad.read(self.redis)
        time.sleep(_REST_S)
        return {f"idle_{name}": value for name, value in (RedisLoad.read(self.redis) - before).over(_REST_S).items()}


def run(quick: bool, images: Path | None) -> list[Case]:
    """Compare two processes with one, of each kind and with each model; then measure a waiting job's memory."""
    rounds = 2 if quick else 5
    with tempfile.TemporaryDirectory() as folder, ExitStack() as until_done:
        identity = identity_model(Path(folder))
        stacks = {name: until_done.enter_context(_stack(folder, *counts)) for name, counts in _STACKS.items()}
        idle = stacks[_ONE].idle()
        comparisons = [
            *_compare(stacks, "nuclei", crops(20 if quick else 40), rounds),
            *_compare(stacks, identity, crops(100 if quick else 400), rounds),
        ]
    return [*comparisons, _waiting(idle)]


def _compare(stacks: dict[str, _Measured], model: str, data: list[bytes], rounds: int) -> list[Case]:
    """Run the stacks in turn with one model; compare each with the one that has one process of each kind."""
    fresh = {name: replace(stack, seconds=[], loads=[]) for name, stack in stacks.items()}
    for stack in fresh.values():
        stack.run(data[:16], model)  # warm-up
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
    """Start a stack with this many processes; the device processes share the CPU's cores."""
    threads = max(1, (os.cpu_count() or 1) // devices)
    settings = stack_settings(cluster_processes=clusters, torch_threads=threads, models=models)
    with running(settings) as stack:
        (spec,) = parse("cpu")
        for number in range(2, devices + 1):
            program = device_program(spec, stack.settings)
            stack.supervisor.start(replace(program, name=f"{program.name}-{number}"))
        stack.supervisor.wait_ready(_READY_S)
        with Client(settings=stack.settings) as client, Redis.from_url(stack.settings.broker_url or "") as redis:
            yield _Measured(client, redis)


def _waiting(idle: dict[str, float]) -> Case:
    """Compare Redis's memory for a waiting job with the bytes of its image; `idle` is reported with it."""
    data = crops(_WAITING)
    with (
        tempfile.TemporaryDirectory() as folder,
        _redis(Path(folder)) as url,
        Client(url) as client,
        Redis.from_url(url) as redis,
    ):
        client.submit(data[0])  # retries until the server is up
        before = _used(redis)
        for image in data:
            client.submit(image, reuse=False)
        per_job = (_used(redis) - before) / len(data)
    return Case.amount("memory of a waiting job", per_job / 1000, sum(map(len, data)) / len(data) / 1000, "kB", **idle)


@contextmanager
def _redis(folder: Path) -> Iterator[str]:
    """Start a private Redis without workers."""
    server, supervisor = private_redis(folder), Supervisor(folder)
    supervisor.start(server.program)
    try:
        yield server.url
    finally:
        supervisor.stop(grace_s=5)


def _used(redis: Redis) -> float:
    info: Any = redis.info("memory")
    return float(info["used_memory"])
