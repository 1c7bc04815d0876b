"""The throughput of the queue itself: jobs with an identity network, compared with bare Celery on the same Redis.

Ours: 256² PNGs through the embedded stack with an identity network: everything but the network's own work is done,
from decoding to the label image that the client reads. The yardstick is a chain of two empty Celery tasks on a thread
worker and a prefork worker (`celery_chain.py`). Neither sends events, as no one watches. `more` has the cost per job:
Redis commands and kilobytes, milliseconds of CPU of each process.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import psutil
from redis import Redis

from maskq.producer.client.client import Client
from maskq.workers.local.stack import Stack, running
from maskq.workers.programs import python_program

from .celery_chain import FIRST, SECOND, make_app, run_chains
from .harness import Case, timed
from .identity import identity_model
from .peers import serving
from .processes import program
from .sample_images import blobs
from .stack_settings import stack_settings

_IN_FLIGHT = 64
#: Program → field with its CPU time.
_FIELDS = {"redis-server": "redis_ms", "device": "device_ms", "cluster": "cluster_ms"}


def run(quick: bool, images: Path | None, peers: Path | None = None) -> list[Case]:
    """Compare jobs per second with chains per second, in turn on one Redis; report the cost of a job.

    With `peers`, the Python of an environment, also with the servers of other frameworks that are installed there.
    """
    count, rounds = (150, 4) if quick else (250, 20)  # short turns, as a machine's speed may change within seconds
    with ExitStack() as until_done:
        folder = until_done.enter_context(tempfile.TemporaryDirectory())
        stack, client, model = until_done.enter_context(_both(Path(folder)))
        data = [blobs(number % 16) for number in range(count)]
        app, redis = make_app(stack.settings.broker_url or ""), Redis.from_url(stack.settings.broker_url or "")

        def jobs() -> None:
            for result in client.map(data, in_flight=_IN_FLIGHT, model=model, name="cells.png"):
                assert result.labels.shape == (256, 256)

        turns: dict[str, Callable[[], None]] = {"empty chains": partial(run_chains, app, redis, count, _IN_FLIGHT)}
        if peers:
            turns |= {name: partial(send, data) for name, send in until_done.enter_context(serving(peers)).items()}
        for warm_up in (jobs, *turns.values()):
            warm_up()
        ours, costs = [], []
        theirs: dict[str, list[float]] = {name: [] for name in turns}
        for _ in range(rounds):
            before = _meters(redis)
            ours.append(timed(jobs) / count)
            costs.append(_difference(before, _meters(redis), count))
            for name, turn in turns.items():
                theirs[name].append(timed(turn) / count)
        medians = {name: round(median(cost[name] for cost in costs), 2) for name in costs[0]}
    rate = 1 / median(ours)
    return [
        Case.rate(f"jobs over {name}", rate, 1 / median(times), "1/s", jobs=count, **medians)
        for name, times in theirs.items()
    ]


@contextmanager
def _both(folder: Path) -> Iterator[tuple[Stack, Client, str]]:
    """Start the stack with the identity model, and the two workers of the yardstick."""
    model = identity_model(folder)
    settings = stack_settings(models=str(folder))
    with running(settings) as stack, Client(settings=stack.settings) as client:
        # maskq's programs ignore the current folder, but this one is in it.
        env = {"PYTHONPATH": str(Path(__file__).parents[1])}
        for pool, threads, queue in (("threads", "4", FIRST), ("prefork", "1", SECOND)):
            # Without heartbeat, which bare Celery workers don't send; they stop with the stack.
            arguments = ("benchmarks.celery_chain", pool, threads, queue)
            stack.supervisor.start(python_program(stack.settings, f"chain-{pool}", *arguments, env=env))
        yield stack, client, model


def _meters(redis: Redis) -> dict[str, float]:
    """Read counters that only grow: commands, kilobytes, and milliseconds of CPU by process."""
    stats: Any = redis.info("all")
    meters = {
        "commands": float(stats["total_commands_processed"]),
        "kilobytes": (stats["total_net_input_bytes"] + stats["total_net_output_bytes"]) / 1000,
        "client_ms": 1000 * time.process_time(),
    }
    for process in psutil.Process().children(recursive=True):
        if name := _FIELDS.get(program(process)):
            meters[name] = meters.get(name, 0.0) + 1000 * sum(process.cpu_times()[:2])
    return meters


def _difference(before: dict[str, float], after: dict[str, float], jobs: int) -> dict[str, float]:
    return {name: (after[name] - before[name]) / jobs for name in before}
