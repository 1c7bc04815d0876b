"""Processes that are killed without a word: whatever dies, every job is done, once."""

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

COINS = np.ascontiguousarray(data.coins()[:200, :200])
WAIT_S = 90


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    settings = Settings(devices="cpu", cluster_processes=1, device_threads=4, lease_s=2, resend_s=2, max_attempts=9)
    with running(settings) as up:
        yield up


@contextmanager
def endings(stack: Stack) -> Iterator[Counter[tuple[str, str]]]:
    """Counts what is published of each job: (its id, the state it entered)."""
    to, told, over = Connections.open(stack.settings), Counter[tuple[str, str]](), threading.Event()
    news = to.redis.pubsub(ignore_subscribe_messages=True)
    news.psubscribe("maskq:job:*")

    def listen() -> None:
        while not over.is_set():
            if message := news.get_message(timeout=0.1):
                told[message["channel"].decode().rpartition(":")[2], message["data"].decode()] += 1

    listener = threading.Thread(target=listen)
    listener.start()
    try:
        yield told
    finally:
        over.set()
        listener.join()
        news.close()
        to.close()


def kill_and_see_it_replaced(victim: psutil.Process, module: str) -> None:
    before = processes(module)
    assert victim in before
    victim.kill()
    until(lambda: processes(module) - before, deadline=60)


def caught_at_work(device: psutil.Process, jobs: list[Job]) -> bool:
    """Stop the process if it has one of the jobs in hand."""
    device.suspend()
    if any(job.state is State.EMBEDDING for job in jobs):
        return True
    device.resume()
    return False


def all_done_once(jobs: list[Job], told: Counter[tuple[str, str]]) -> bool:
    for job in jobs:
        assert job.wait(WAIT_S).size == (200, 200)
    return all(told[job.id, "done"] == 1 for job in jobs)


def test_a_device_process_that_is_killed_is_replaced_and_its_jobs_are_done_once(client: Client, stack: Stack) -> None:
    with endings(stack) as told:
        jobs = [client.submit(COINS) for _ in range(24)]
        (device,) = processes("maskq.workers.device.process")
        until(lambda: caught_at_work(device, jobs))
        kill_and_see_it_replaced(device, "maskq.workers.device.process")
        assert any(not job.state.ended for job in jobs)
        until(lambda: all_done_once(jobs, told))
    attempts = [job.status().attempts for job in jobs]
    assert max(count[Stage.EMBED] for count in attempts) > 1
    assert sum(count[Stage.EMBED] for count in attempts) <= 24 + stack.settings.device_threads


def test_a_cluster_child_that_is_killed_is_replaced_and_its_jobs_are_done_once(client: Client, stack: Stack) -> None:
    with endings(stack) as told:
        (child,) = (process for process in processes("maskq.workers.cluster") if process.children() == [])
        main = child.parent()
        child.suspend()
        jobs = [client.submit(COINS) for _ in range(8)]
        until(lambda: all(job.state is State.EMBEDDED for job in jobs))
        kill_and_see_it_replaced(child, "maskq.workers.cluster")
        until(lambda: all_done_once(jobs, told))
    assert main in processes("maskq.workers.cluster")


def test_a_cluster_worker_that_is_killed_takes_its_child_along_and_is_replaced(client: Client, stack: Stack) -> None:
    (main,) = (process for process in processes("maskq.workers.cluster") if process.children())
    old = processes("maskq.workers.cluster")
    kill_and_see_it_replaced(main, "maskq.workers.cluster")
    until(lambda: not processes("maskq.workers.cluster") & old)
    assert client.submit(COINS).wait(WAIT_S).size == (200, 200)


def test_a_redis_that_is_killed_is_replaced_and_who_waits_waits_on(client: Client, stack: Stack) -> None:
    with closing(Connections.open(stack.settings)) as to:
        to.redis.config_set("appendfsync", "always")  # else it may lose its last two seconds, and the test with them
        jobs = [client.submit(COINS) for _ in range(12)]
        (redis,) = (found for found in psutil.Process().children() if to.redis.info()["process_id"] == found.pid)
    until(lambda: jobs[0].state.ended)
    redis.kill()
    for job in jobs:
        assert job.wait(WAIT_S).size == (200, 200)
    assert client.submit(COINS).wait(WAIT_S).size == (200, 200)
