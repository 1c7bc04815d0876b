"""What maskq's machinery carries: jobs with a network that costs nothing, beside bare Celery on the same Redis.

Ours: 256² PNGs through the embedded stack with an identity network: everything but the network's own work is done,
from decoding to the label image that the client reads. The yardstick is a chain of two empty Celery tasks on a thread
worker and a prefork worker (`chain.py`). Neither sends events, for no one watches. `more` says where the time goes, per
job: Redis commands and kilobytes, milliseconds of CPU of each process.
"""

from __future__ import annotations

import io
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import psutil
from PIL import Image
from redis import Redis

from maskq.producer.client.client import Client
from maskq.workers.local.stack import Stack, running
from maskq.workers.programs import settings_env
from maskq.workers.supervision.process import python_program

from .chain import FIRST, SECOND, make_app
from .chain import turn as chains
from .harness import Case, timed
from .identity import identity_model
from .stacks import embedded

_IN_FLIGHT = 64
#: What a process is told apart by, on its command line.
_PROCESSES = {
    "redis_ms": "redis-server",
    "device_ms": "maskq.workers.device.process",
    "cluster_ms": "maskq.workers.cluster",
}


def run(quick: bool, images: Path | None) -> list[Case]:
    """Jobs per second over chains per second, in turn on one Redis; then what a job costs."""
    count, rounds = (150, 4) if quick else (250, 20)  # short turns: a machine's speed may change within seconds
    with tempfile.TemporaryDirectory() as folder, _both(Path(folder)) as (stack, client, model):
        pictures = [_picture(seed) for seed in range(16)]
        app, redis = make_app(stack.settings.broker_url or ""), Redis.from_url(stack.settings.broker_url or "")

        def jobs(number: int = count) -> None:
            for result in client.map(
                (pictures[n % 16] for n in range(number)), in_flight=_IN_FLIGHT, model=model, name="cells.png"
            ):
                assert result.labels.shape == (256, 256)

        jobs(64)
        chains(app, redis, 64, _IN_FLIGHT)
        ours, theirs, spent = [], [], []
        for _ in range(rounds):
            before = _meters(redis)
            ours.append(timed(jobs) / count)
            spent.append(_difference(before, _meters(redis), count))
            theirs.append(timed(lambda: chains(app, redis, count, _IN_FLIGHT)) / count)
        costs = {name: round(median(one[name] for one in spent), 2) for name in spent[0]}
    return [Case.rate("jobs over empty chains", 1 / median(ours), 1 / median(theirs), "1/s", jobs=count, **costs)]


@contextmanager
def _both(folder: Path) -> Iterator[tuple[Stack, Client, str]]:
    """The stack with the identity model, and beside it the two workers of the yardstick."""
    model = identity_model(folder)
    settings = embedded(models=str(folder))
    with running(settings) as stack, Client(settings=stack.settings) as client:
        env = settings_env(stack.settings)
        for pool, threads, queue in (("threads", "4", FIRST), ("prefork", "1", SECOND)):
            # Not linked: they have no supervisor's protocol to speak, and are stopped with the stack.
            stack.supervisor.start(python_program(f"chain-{pool}", "benchmarks.chain", pool, threads, queue, env=env))
        yield stack, client, model


def _meters(redis: Redis) -> dict[str, float]:
    """Counters that only grow: commands, bytes, and seconds of CPU by process."""
    stats: Any = redis.info("all")
    found = {
        "commands": float(stats["total_commands_processed"]),
        "kilobytes": (stats["total_net_input_bytes"] + stats["total_net_output_bytes"]) / 1000,
        "client_ms": 1000 * time.process_time(),
    }
    for process in psutil.Process().children(recursive=True):
        line = " ".join(process.cmdline()).replace("valkey-server", "redis-server")
        for name, words in _PROCESSES.items():
            if words in line:
                found[name] = found.get(name, 0.0) + 1000 * sum(process.cpu_times()[:2])
    return found


def _difference(before: dict[str, float], after: dict[str, float], jobs: int) -> dict[str, float]:
    return {name: (after[name] - before[name]) / jobs for name in before}


def _picture(seed: int) -> bytes:
    """A 256² PNG of smooth blobs, about as large as a micrograph's."""
    noise = np.random.default_rng(seed).integers(0, 255, (32, 32)).astype(np.uint8)
    stream = io.BytesIO()
    Image.fromarray(noise).resize((256, 256), Image.Resampling.BICUBIC).save(stream, "PNG")
    return stream.getvalue()
