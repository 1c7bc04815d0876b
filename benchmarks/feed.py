"""What one device process costs beside its device: with a network that takes next to no time, all of it is the queue's.

The CPU time of a job is that of the device process while the whole stack works. Then a device process finds its jobs
queued, and hands each image's fields on, while client and CPU workers rest: so many images a second it can feed to its
device. The yardstick is the image's own work in a bare loop of one thread: decode, the same network, pack.

Where py-spy is installed, a table follows: milliseconds of CPU a job of 256² by process and part (see `parts`).
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import psutil
from redis import Redis

from maskq.producer.client.client import Client
from maskq.producer.state.keys import waiting_key
from maskq.producer.state.routing import CLUSTER_QUEUE
from maskq.workers.local.stack import Stack, running

from .harness import Case
from .identity import identity_model
from .isolated import isolated
from .parts import find_py_spy, profiled
from .processes import program
from .redis_load import RedisLoad
from .sample_images import blobs
from .stack_settings import stack_settings

#: Height and width → images a turn.
_SIZES = {(256, 256): 300, (1024, 2048): 24}
#: The most milliseconds of CPU that a job of 256² may cost the device process.
_TARGET_MS = 1.5
_IN_FLIGHT, _POLL_S = 64, 0.01
#: A process that rests must not look dead (seconds).
_HEARTBEAT_S = 600
#: What a process does beside Python: decoding, the network, system calls.
_NO_GIL = "without the GIL"

#: Image files → wall and CPU seconds of all.
Bare = Callable[[Sequence[bytes]], tuple[float, float]]


def run(quick: bool, images: Path | None) -> list[Case]:
    """Compare the device process with a bare loop at both sizes; then divide all CPU time into parts."""
    rounds, share = (2, 3) if quick else (7, 1)
    with tempfile.TemporaryDirectory() as folder:
        model = identity_model(Path(folder))
        settings = stack_settings(models=folder, heartbeat_s=_HEARTBEAT_S)
        with running(settings) as stack, isolated(bare_loop, model, folder) as bare:
            cases = [case for size in _SIZES for case in _feed(stack, bare, model, size, rounds, share)]
            if py_spy := find_py_spy():
                return [*cases, *_by_part(stack, py_spy, model, 200 if quick else 1000)]
            print("without py-spy, there is no table by part: pip install py-spy", file=sys.stderr)
            return cases


def bare_loop(model: str, folder: str) -> Bare:
    """Build the loop in this process: one image after the other, to its packed fields."""
    import torch

    from maskq.segmentation.images import decode
    from maskq.segmentation.models.registry import find
    from maskq.segmentation.segmenter import Segmenter

    segmenter = Segmenter.load(find(model, (folder,)))
    torch.set_num_threads(1)

    def work(images: Sequence[bytes]) -> tuple[float, float]:
        began, cpu = time.perf_counter(), time.process_time()
        for image in images:
            segmenter.fields(decode(image))
        return time.perf_counter() - began, time.process_time() - cpu

    return work


def _feed(stack: Stack, bare: Bare, model: str, size: tuple[int, int], rounds: int, share: int) -> Iterator[Case]:
    """Compare the CPU time a job, and the images a second."""
    height, width = size
    count = _SIZES[size] // share
    data = [blobs(seed, height, width) for seed in range(8)]
    images = [data[number % len(data)] for number in range(count)]
    with Client(settings=stack.settings) as client, Redis.from_url(stack.settings.broker_url or "") as redis:
        times = [
            (_flow(client, images, model), _hand_over(client, redis, images, model), bare(images))
            for _ in range(1 + rounds)
        ][1:]  # the first is a warm-up
    (_, cpu), (wall, rested_cpu), (bare_wall, bare_cpu) = (
        tuple(median(pair[which] for pair in turn) / count for which in (0, 1)) for turn in zip(*times, strict=True)
    )
    name, target = f"{height}×{width}", {"target_ms": _TARGET_MS} if size == (256, 256) else {}
    details = {"images": count, "handed_over_ms": round(1000 * rested_cpu, 2)} | target
    yield Case.amount(f"{name}, CPU of the device process", 1000 * cpu, 1000 * bare_cpu, "ms", **details)
    yield Case.rate(f"{name}, handed over", 1 / wall, 1 / bare_wall, "images/s", cores=round(rested_cpu / wall, 2))


def _flow(client: Client, images: Sequence[bytes], model: str) -> tuple[float, float]:
    """Run jobs through the stack; returns wall and CPU seconds of the device process, of all together."""
    (device,) = _processes("device")
    began, before = time.perf_counter(), sum(device.cpu_times()[:2])
    for result in client.map(images, in_flight=_IN_FLIGHT, model=model):
        assert result.labels.shape == result.size
    return time.perf_counter() - began, sum(device.cpu_times()[:2]) - before


def _hand_over(client: Client, redis: Redis, images: Sequence[bytes], model: str) -> tuple[float, float]:
    """Run jobs through their first stage; returns wall and CPU seconds of the device process, of all together."""
    with _resting("cluster"):
        with _resting("device") as (device, *_):
            jobs = list(client.submit_many(images, model=model))
            before = sum(device.cpu_times()[:2])
        began = time.perf_counter()
        while redis.zcard(waiting_key(CLUSTER_QUEUE)) < len(jobs):
            time.sleep(_POLL_S)
        wall = time.perf_counter() - began
        cpu = sum(device.cpu_times()[:2]) - before
    for _, outcome in client.as_completed(jobs):
        if isinstance(outcome, Exception):
            raise outcome
    return wall, cpu


@contextmanager
def _resting(name: str) -> Iterator[list[psutil.Process]]:
    """Stop the processes of a program (SIGSTOP) while the block runs; they have no jobs."""
    processes = _processes(name)
    for process in processes:
        process.send_signal(signal.SIGSTOP)
    try:
        yield processes
    finally:
        for process in processes:
            process.send_signal(signal.SIGCONT)


def _processes(name: str) -> list[psutil.Process]:
    """Return the stack's processes of a program, the oldest first."""
    found = [process for process in psutil.Process().children(recursive=True) if program(process) == name]
    return sorted(found, key=lambda process: (process.create_time(), process.pid))


def _by_part(stack: Stack, py_spy: str, model: str, count: int) -> Iterator[Case]:
    """The CPU milliseconds a job of 256² by process and part; the yardstick is the whole process."""
    images = [blobs(number % 16) for number in range(count)]
    pids = {"client": [os.getpid()]}
    pids |= {name: [process.pid for process in _processes(name)] for name in ("device", "cluster")}
    with Client(settings=stack.settings) as client, Redis.from_url(stack.settings.broker_url or "") as redis:
        before, load = _cpu_ms(), RedisLoad.read(redis)
        _flow(client, images, model)
        after, load = _cpu_ms(), RedisLoad.read(redis) - load
        with profiled(py_spy, pids) as seconds:
            _flow(client, images, model)
    for name, parts in seconds.items():
        total, held = (after[name] - before[name]) / count, 1000 * parts.total() / count
        scale = min(1.0, total / held) if held else 1.0  # on a busy machine, who holds the GIL may have to wait
        times = [(part, scale * 1000 * spent / count) for part, spent in parts.most_common()]
        for part, ms in [*times, (_NO_GIL, max(total - scale * held, 1e-6))]:
            yield Case.amount(f"{name}: {part}", ms, total, "ms")
    redis_ms = 1000 * load.cpu_s / count
    yield Case.amount("redis-server", redis_ms, redis_ms, "ms", commands=round(load.commands / count, 1))


def _cpu_ms() -> dict[str, float]:
    """Milliseconds of CPU by process."""
    spent = {name: 1000 * sum(sum(one.cpu_times()[:2]) for one in _processes(name)) for name in ("device", "cluster")}
    return spent | {"client": 1000 * time.process_time()}
