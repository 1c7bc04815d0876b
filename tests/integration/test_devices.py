"""The counters that device processes publish, and the failover between lanes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, cast

import numpy as np
import psutil
import pytest
from redis import Redis

from maskq import Client, Settings
from maskq.producer.state.connections import Connections
from maskq.producer.state.keys import DEVICES
from maskq.tasks.celery_app import create_app
from maskq.workers.celery_worker.publisher import Publisher
from maskq.workers.device.lane_failover import LaneFailover, WorkerConsumer
from maskq.workers.device.metrics import Counters
from maskq.workers.device.spec import DeviceSpec, InvalidDevices
from maskq.workers.local import stack as stacks
from maskq.workers.local.stack import Stack, running
from maskq.workers.programs import device_program
from tests.conftest import processes, text, until

IMAGE = np.zeros((32, 32), np.uint8)
WAIT_S = 60
CONFIGURED = {"cpu-fixed": "fixed", "cpu-varied": "varied"}


class Consumer:
    """Records the lanes that it takes; confirms no request, and ignores it, unless `confirms` is set."""

    def __init__(self) -> None:
        self.lanes: set[str] = set()
        self.confirms = True

    def add(self, lane: str) -> bool:
        self.lanes |= {lane} if self.confirms else set()
        return self.confirms

    def cancel(self, lane: str) -> bool:
        self.lanes -= {lane} if self.confirms else set()
        return self.confirms


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Redis's time in seconds, set by the test."""
    now = [1000]
    monkeypatch.setattr(Redis, "time", lambda _: (now[0], 0))
    yield now


def failover_of(redis: Redis, name: str, lanes: list[str], consumer: Consumer) -> LaneFailover:
    return LaneFailover(redis, name, lanes, cast(WorkerConsumer, consumer), unserved_s=6)


def served_by(failover: LaneFailover) -> tuple[str, ...]:
    return failover.served


def test_a_lane_that_no_one_serves_is_taken_in_time_and_given_back(redis: Redis, clock: list[int]) -> None:
    consumers = {name: Consumer() for name in ("one", "two", "other")}
    lanes = {"one": ["fixed"], "two": ["fixed"], "other": ["varied"]}
    failovers = {name: failover_of(redis, name, lanes[name], consumers[name]) for name in consumers}

    def after(seconds: int, *alive: str) -> list[set[str]]:
        clock[0] += seconds
        for name in alive:
            failovers[name].check()
        return [consumers[name].lanes for name in alive]

    assert after(0, "one", "two") == [set(), set()]  # the third may be starting
    assert after(5, "one", "two", "other") == [set(), set(), set()]
    assert after(5, "one", "two") == [set(), set()]  # its entry is five seconds old
    assert after(2, "one", "two") == [{"varied"}, {"varied"}]  # both help
    assert served_by(failovers["one"]) == ("fixed", "varied")
    assert after(1, "other", "one", "two") == [set(), set(), set()]
    assert served_by(failovers["one"]) == ("fixed",)
    assert after(9, "other") == [{"fixed"}]
    failovers["other"].stop()
    assert after(1, "one") == [{"varied"}]  # a process that shuts down removes its entry


def test_a_request_that_the_worker_did_not_confirm_is_sent_again(redis: Redis, clock: list[int]) -> None:
    consumer = Consumer()
    failover = failover_of(redis, "one", ["fixed"], consumer)
    consumer.confirms = False
    for _ in range(2):
        failover.check()
        clock[0] += 7
    assert served_by(failover) == ("fixed",)
    consumer.confirms = True
    failover.check()
    assert (served_by(failover), consumer.lanes) == (("fixed", "varied"), {"varied"})


def test_counters_are_published_with_their_time_and_removed_at_the_end(redis: Redis, clock: list[int]) -> None:
    counters = Counters()
    publisher = Publisher(redis, DEVICES, "cpu@host", counters.entries)
    counters.add_batch(3, 0.5)
    counters.add_batch(1, 0.25)
    counters.add_halving()
    publisher.start()
    entries: Any = until(lambda: redis.hget(DEVICES, "cpu@host"))
    assert json.loads(entries) == {
        "in_hand": 0,
        "batches": 2,
        "images": 4,
        "mean_batch": 2.0,
        "device_s": 0.75,
        "memory_halvings": 1,
        "time": 1000,
    }
    publisher.stop()
    assert redis.hgetall(DEVICES) == {}


# Real processes


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    """A device for each lane."""
    settings = Settings(
        devices="cpu;lanes=fixed", cluster_processes=1, torch_threads=1, lease_s=2, resend_s=2, lane_s=2
    )
    with running(settings) as up:
        up.supervisor.start(device_program(DeviceSpec("cpu", "on", lanes="varied"), up.settings))
        up.supervisor.wait_ready(60)
        yield up


def by_node(stack: Stack) -> dict[str, Any]:
    """The pool statistics of each device in Celery, which Flower's worker page shows."""
    with create_app(stack.settings) as app:
        replies = app.control.inspect(timeout=2).stats() or {}
    return {name.partition("@")[0]: stats["pool"] for name, stats in replies.items() if name.startswith("cpu")}


def served(stack: Stack) -> dict[str, str]:
    """The lanes that each device serves, from its published entries."""
    connections = Connections.open(stack.settings)
    try:
        published = connections.redis.hgetall(DEVICES).items()
    finally:
        connections.close()
    return {text(name).partition("@")[0]: json.loads(entries)["lanes"] for name, entries in published}


def varied_process() -> psutil.Process:
    (process,) = (it for it in processes("maskq.workers.device.process") if "lanes=varied" in it.cmdline()[-1])
    return process


def test_flower_shows_the_counters_of_a_device(client: Client, stack: Stack) -> None:
    until(lambda: served(stack) == CONFIGURED)

    def ran() -> bool:
        client.submit(IMAGE).wait(WAIT_S)  # the other device may have taken the lane before this one was ready
        return bool(by_node(stack)["cpu-varied"]["images"] >= 1)

    until(ran)
    pools = by_node(stack)
    assert {name: pool["device"] for name, pool in pools.items()} == {
        "cpu-fixed": "cpu=auto;lanes=fixed",
        "cpu-varied": "cpu=on;lanes=varied",
    }
    busy = pools["cpu-varied"]  # the image's shape is not common
    assert busy["batches"] == busy["images"] >= 1 and busy["device_s"] > 0
    assert (busy["cudnn_benchmark"], busy["cudnn_searches"]) == ("on", 0)
    assert busy["max-concurrency"] == 4


def test_a_lane_whose_device_is_gone_is_served_by_the_other_until_it_is_back(client: Client, stack: Stack) -> None:
    until(lambda: served(stack) == CONFIGURED)
    varied = varied_process()
    varied.suspend()  # the supervisor replaces it after half a minute only
    try:
        until(lambda: served(stack)["cpu-fixed"] == "fixed varied", deadline=10)
        assert client.submit(IMAGE).wait(WAIT_S).size == (32, 32)
    finally:
        varied.resume()
    until(lambda: served(stack)["cpu-fixed"] == "fixed", deadline=15)
    assert client.submit(IMAGE).wait(WAIT_S).size == (32, 32)


def test_a_killed_process_comes_back_to_its_own_lane(client: Client, stack: Stack) -> None:
    varied = varied_process()
    varied.kill()
    jobs = [client.submit(IMAGE) for _ in range(4)]
    assert all(job.wait(WAIT_S).size == (32, 32) for job in jobs)
    until(lambda: served(stack) == CONFIGURED, deadline=60)


def test_an_unknown_device_is_refused_before_anything_starts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stacks, "private_redis", lambda _: pytest.fail("something was started"))
    wrong = Settings(devices="cuda:97")
    with pytest.raises(InvalidDevices, match="cuda:97 is not there; there are cpu"), running(wrong):
        pytest.fail("it is up")
