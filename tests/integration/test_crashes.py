"""Processes killed with SIGKILL: whichever it is, every job is done exactly once."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager

import numpy as np
import psutil
import pytest
from skimage import data

from maskq import Client, Job, Settings, State
from maskq.producer.schema import Stage
from maskq.producer.state.connections import Connections
from maskq.workers.local.stack import Stack, running
from tests.conftest import processes, until

COINS = np.ascontiguousarray(data.coins()[:200, :200])  # type: ignore[no-untyped-call]
WAIT_S = 90


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    settings = Settings(devices="cpu", cluster_processes=1, device_threads=4, lease_s=2, resend_s=2, max_attempts=9)
    with running(settings) as stack:
        yield stack


@contextmanager
def state_changes(stack: Stack) -> Iterator[Counter[tuple[str, str]]]:
    """Counts the published state changes: (job id, state entered)."""
    connections, counts, done = Connections.open(stack.settings), Counter[tuple[str, str]](), threading.Event()
    subscription = connections.redis.pubsub(ignore_subscribe_messages=True)  # type: ignore[no-untyped-call]
    subscription.psubscribe("maskq:job:*")

    def listen() -> None:
        while not done.is_set():
            if message := subscription.get_message(timeout=0.1):
                counts[message["channel"].decode().rpartition(":")[2], message["data"].decode()] += 1

    listener = threading.Thread(target=listen)
    listener.start()
    try:
        yield counts
    finally:
        done.set()
        listener.join()
        subscription.close()
        connections.close()


def kill_and_wait_for_replacement(victim: psutil.Process, module: str) -> None:
    before = processes(module)
    assert victim in before
    victim.kill()
    until(lambda: processes(module) - before, deadline=60)


def suspended_at_work(device: psutil.Process, jobs: list[Job]) -> bool:
    """Suspend the process if it is embedding one of the jobs now."""
    device.suspend()
    if any(job.state is State.EMBEDDING for job in jobs):
        return True
    device.resume()
    return False


def all_done_once(jobs: list[Job], counts: Counter[tuple[str, str]]) -> bool:
    for job in jobs:
        assert job.wait(WAIT_S).size == (200, 200)
    return all(counts[job.id, "done"] == 1 for job in jobs)


def test_a_killed_device_process_is_replaced_and_its_jobs_are_done_once(client: Client, stack: Stack) -> None:
    with state_changes(stack) as counts:
        jobs = [client.submit(COINS) for _ in range(24)]
        (device,) = processes("maskq.workers.device.process")
        until(lambda: suspended_at_work(device, jobs))
        kill_and_wait_for_replacement(device, "maskq.workers.device.process")
        assert any(not job.state.ended for job in jobs)
        until(lambda: all_done_once(jobs, counts))
    attempts = [job.status().attempts for job in jobs]
    assert max(count[Stage.EMBED] for count in attempts) > 1
    assert sum(count[Stage.EMBED] for count in attempts) <= 24 + stack.settings.device_threads


def test_a_killed_cluster_child_is_replaced_and_its_jobs_are_done_once(client: Client, stack: Stack) -> None:
    with state_changes(stack) as counts:
        (child,) = (process for process in processes("maskq.workers.cluster") if process.children() == [])
        main = child.parent()
        child.suspend()
        jobs = [client.submit(COINS) for _ in range(8)]
        until(lambda: all(job.state is State.EMBEDDED for job in jobs))
        kill_and_wait_for_replacement(child, "maskq.workers.cluster")
        until(lambda: all_done_once(jobs, counts))
    assert main in processes("maskq.workers.cluster")


def test_a_killed_cluster_worker_ends_with_its_child_and_is_replaced(client: Client, stack: Stack) -> None:
    (main,) = (process for process in processes("maskq.workers.cluster") if process.children())
    old = processes("maskq.workers.cluster")
    kill_and_wait_for_replacement(main, "maskq.workers.cluster")
    until(lambda: not processes("maskq.workers.cluster") & old)
    assert client.submit(COINS).wait(WAIT_S).size == (200, 200)


def test_a_killed_redis_is_replaced_and_waiting_clients_wait_on(client: Client, stack: Stack) -> None:
    with closing(Connections.open(stack.settings)) as connections:
        redis = connections.redis
        redis.config_set("appendfsync", "always")  # otherwise it may lose the last two seconds of writes
        jobs = [client.submit(COINS) for _ in range(12)]
        (server,) = (child for child in psutil.Process().children() if redis.info()["process_id"] == child.pid)
    until(lambda: jobs[0].state.ended)
    server.kill()
    for job in jobs:
        assert job.wait(WAIT_S).size == (200, 200)
    assert client.submit(COINS).wait(WAIT_S).size == (200, 200)
