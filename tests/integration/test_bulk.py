"""Many images and results in a round trip: each job is accepted or refused alone, and none is lost or doubled."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
from redis import Redis

from maskq import (
    BrokerUnavailable,
    Client,
    IdempotencyConflict,
    Job,
    JobFailed,
    PayloadTooLarge,
    QueueFull,
    Result,
    Settings,
    State,
    StoreFull,
    UnknownJob,
    WaitTimeout,
)
from maskq.producer.client.sources import Source
from maskq.producer.schema import Failure
from maskq.workers.local.redis_server import private_redis
from maskq.workers.supervision.supervisor import Supervisor
from tests.acceptance.chaos.proxy import Proxy
from tests.conftest import png, text, until
from tests.integration import simulated_worker

IMAGE = png(np.zeros((4, 6), np.uint8))
FAILURE = Failure(type="TruncatedImage", message="cells.png: ends early")


@pytest.fixture
def client(redis_url: str) -> Iterator[Client]:
    with Client(redis_url) as client:
        yield client


def images(number: int) -> list[bytes]:
    """So many different images."""
    return [png(np.full((4, 6), value, np.uint8)) for value in range(number)]


def calls(redis: Redis, command: str) -> int:
    """How often Redis has run a command, those of scripts included."""
    return int(redis.info("commandstats").get(f"cmdstat_{command}", {"calls": 0})["calls"])


def counted(redis: Redis, command: str, act: Callable[[], Any]) -> int:
    """How often Redis runs a command meanwhile."""
    before = calls(redis, command)
    act()
    return calls(redis, command) - before


def queued(redis: Redis) -> list[str]:
    """The unfinished jobs, in the order of their submission."""
    return [text(job_id) for job_id in redis.zrange("maskq:active", 0, -1)]


def test_a_round_trip_takes_64_small_images_in_their_order(client: Client, redis: Redis) -> None:
    client.submit(IMAGE).cancel()  # the connection is open, the script loaded, the permissions checked
    jobs: list[Job] = []
    sent = images(150)
    options: dict[str, Any] = {"name": "cells.png", "client": "lab", "priority": 9}
    assert counted(redis, "evalsha", lambda: jobs.extend(client.submit_many(sent, **options))) == 3
    assert [job.image() for job in jobs] == sent
    assert queued(redis) == [job.id for job in jobs]
    spec = jobs[99].status().spec
    assert (spec.name, spec.client, spec.priority) == ("cells.png", "lab", 9)


@pytest.mark.parametrize(("megabytes", "round_trips"), [([3, 3, 3, 3, 3], 3), ([1, 9, 1], 4), ([3, 3, 1, 1, 1], 2)])
def test_a_round_trip_takes_8_megabytes_or_one_larger_image(
    client: Client, redis: Redis, megabytes: list[int], round_trips: int
) -> None:
    sent = [os.urandom(size << 20) for size in megabytes]
    client.submit(IMAGE).cancel()
    jobs: list[Job] = []
    assert counted(redis, "evalsha", lambda: jobs.extend(client.submit_many(sent))) == min(round_trips, 3)
    assert [job.image() for job in jobs] == sent


def test_one_that_is_refused_leaves_no_trace_and_does_not_keep_the_others(
    redis_url: str, redis: Redis, tmp_path: Path
) -> None:
    with Client(settings=Settings(broker_url=redis_url, max_queued_bytes=10_000, max_bytes=50_000)) as client:
        known = client.submit(IMAGE, idempotency_key="known")
        sources: list[Source] = [
            *images(4)[1:],
            bytes(20_000),
            tmp_path / "none.png",
            bytes(60_000),
            IMAGE + b" ",
            IMAGE,
        ]
        keys = {IMAGE: "known", IMAGE + b" ": "known"}
        outcomes = [
            *client.submit_many(
                sources,
                errors="return",
                idempotency_key=lambda source: keys.get(source) if isinstance(source, bytes) else None,
            )
        ]
        kinds = [Job] * 3 + [QueueFull, FileNotFoundError, PayloadTooLarge, IdempotencyConflict, Job]
        assert [type(outcome) for outcome in outcomes] == kinds
        named = outcomes[-1]
        assert isinstance(named, Job) and named.id == known.id
        new = [outcome.id for outcome in outcomes[:3] if isinstance(outcome, Job)]
        assert queued(redis) == [known.id, *new]
        assert sorted(map(text, redis.keys("maskq:payload:*"))) == sorted(
            f"maskq:payload:{job_id}:image" for job_id in [known.id, *new]
        )


def test_an_error_is_raised_in_its_place_and_nothing_after_it_is_queued(
    redis_url: str, redis: Redis, tmp_path: Path
) -> None:
    with Client(settings=Settings(broker_url=redis_url, max_queued_bytes=10_000)) as client:
        cases: list[tuple[Any, type[Exception]]] = [(bytes(20_000), QueueFull), (tmp_path / "none", FileNotFoundError)]
        for bad, error in cases:
            jobs: list[Job] = []
            with pytest.raises(error):
                for job in client.submit_many([*images(3), bad, *images(3)]):
                    jobs.append(job)
            assert len(jobs) == 3 and queued(redis)[-3:] == [job.id for job in jobs]
    assert len(redis.keys("maskq:job:*")) == len(redis.keys("maskq:payload:*")) == 6


def test_an_iterator_without_end_is_read_as_far_as_jobs_are_asked_for(client: Client, redis: Redis) -> None:
    read: list[int] = []

    def forever() -> Iterator[bytes]:
        for number in count():
            read.append(number)
            yield png(np.full((4, 6), number % 256, np.uint8))

    jobs = client.submit_many(forever())
    yielded = [next(jobs) for _ in range(70)]
    assert len(read) <= 70 + 64
    jobs.close()
    assert queued(redis) == [job.id for job in yielded]
    assert len(redis.keys("maskq:job:*")) == len(redis.keys("maskq:payload:*")) == 70


def test_an_error_of_the_iterator_comes_after_the_jobs_before_it(client: Client, redis: Redis) -> None:
    def breaks() -> Iterator[bytes]:
        yield from images(3)
        raise OSError("the disk is gone")

    jobs = client.submit_many(breaks(), errors="return")
    yielded = [next(jobs) for _ in range(3)]
    with pytest.raises(OSError, match="the disk is gone"):
        next(jobs)
    assert queued(redis) == [job.id for job in yielded if isinstance(job, Job)]


def test_images_that_come_slowly_are_not_held_back(client: Client, redis: Redis) -> None:
    seen: list[int] = []
    began = time.monotonic()

    def camera() -> Iterator[bytes]:
        for image in images(3):
            until(lambda: len(queued(redis)) == len(seen))
            seen.append(1)
            until(lambda: time.monotonic() > began + 0.05 * len(seen))  # longer than the client waits for more
            yield image

    assert len(list(client.submit_many(camera()))) == 3


def test_a_round_trip_whose_answer_is_lost_doubles_nothing(redis_url: str, redis: Redis) -> None:
    port = str(urlsplit(redis_url).port)
    with closing(Proxy(int(port))) as proxy, Client(redis_url.replace(port, str(proxy.port))) as client:
        client.submit(IMAGE).cancel()
        sent = images(64)
        with ThreadPoolExecutor(1) as threads, proxy.delayed(0.5):
            submitting = threads.submit(lambda: list(client.submit_many(sent)))
            until(lambda: len(queued(redis)) == 64)
            proxy.drop()  # before the answer is through
            jobs = submitting.result(60)
        assert queued(redis) == [job.id for job in jobs] and [job.image() for job in jobs] == sent


def test_a_script_that_redis_has_forgotten_is_loaded_again(client: Client, redis: Redis) -> None:
    def forgetful() -> Iterator[bytes]:
        for image in images(130):
            redis.script_flush()
            yield image

    jobs = list(client.submit_many(forgetful()))
    assert queued(redis) == [job.id for job in jobs] and len(redis.keys("maskq:payload:*")) == 130


def test_a_redis_that_is_full_refuses_what_it_has_no_room_for(client: Client, redis: Redis) -> None:
    redis.config_set("maxmemory", redis.info("memory")["used_memory"] + (24 << 20))
    try:
        outcomes = list(client.submit_many([os.urandom(3 << 20) for _ in range(12)], errors="return"))
    finally:
        redis.config_set("maxmemory", 0)
    jobs = [outcome for outcome in outcomes if isinstance(outcome, Job)]
    assert {type(outcome) for outcome in outcomes} == {Job, StoreFull} and outcomes[0] is jobs[0]
    assert queued(redis) == [job.id for job in jobs] and len(redis.keys("maskq:payload:*")) == len(jobs)


def test_a_transaction_that_has_no_room_is_tried_image_by_image(
    client: Client, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client._connections.store, "check_room", lambda size: None)  # it fills up only now
    client.submit(IMAGE).cancel()
    redis.config_set("maxmemory", redis.info("memory")["used_memory"] + (7 << 20))
    try:
        outcomes = list(client.submit_many([os.urandom(2 << 20) for _ in range(4)], errors="return"))
    finally:
        redis.config_set("maxmemory", 0)
    jobs = [outcome for outcome in outcomes if isinstance(outcome, Job)]
    assert isinstance(outcomes[0], Job) and isinstance(outcomes[-1], StoreFull)
    assert queued(redis) == [job.id for job in jobs] and len(redis.keys("maskq:payload:*")) == len(jobs)


def test_files_take_the_images_of_those_that_are_accepted(redis_url: str, redis: Redis, tmp_path: Path) -> None:
    settings = Settings(broker_url=redis_url, store_url=f"file://{tmp_path}", max_queued=70)
    with Client(settings=settings) as client:
        outcomes = list(client.submit_many(images(80), errors="return"))
        jobs = [outcome for outcome in outcomes if isinstance(outcome, Job)]
        assert [type(outcome) for outcome in outcomes] == [Job] * 70 + [QueueFull] * 10
        assert {folder.name for folder in tmp_path.iterdir()} == {job.id for job in jobs} == set(queued(redis))
        labels = [simulated_worker.finish(job.id, settings) for job in jobs[:5]]
        results = [outcome for _, outcome in client.as_completed(jobs[:5], timeout=30)]
        assert [result.label_file for result in results if isinstance(result, Result)] == labels


def test_a_wait_for_room_sends_again_only_what_was_refused(redis_url: str, redis: Redis) -> None:
    with Client(settings=Settings(broker_url=redis_url, max_queued=3)) as client, ThreadPoolExecutor(1) as threads:
        submitting = threads.submit(lambda: list(client.submit_many(images(4), timeout=30)))
        first, *_ = until(lambda: queued(redis))
        client.job(first).cancel()
        jobs = submitting.result(40)
    assert [job.state for job in jobs] == [State.CANCELLED, *[State.QUEUED] * 3]
    assert queued(redis) == [job.id for job in jobs[1:]]


def test_a_broker_that_is_away_is_raised_whatever_becomes_of_errors() -> None:
    with Client("redis://127.0.0.1:1") as client, pytest.raises(BrokerUnavailable):
        next(client.submit_many([IMAGE], errors="return"))


def test_results_that_are_there_come_many_in_a_round_trip(redis_url: str, redis: Redis) -> None:
    settings = Settings(broker_url=redis_url)
    with Client(settings=settings) as client:
        keys = {image: str(number) for number, image in enumerate(images(60))}
        labels = [
            simulated_worker.finish(job.id, settings) for job in client.submit_many(keys, idempotency_key=keys.get)
        ]
        results: list[Result] = []
        fetched = counted(
            redis, "mget", lambda: results.extend(client.map(keys, in_flight=64, idempotency_key=keys.get))
        )
    assert [result.label_file for result in results] == labels and fetched <= 12


def test_results_of_a_round_trip_have_a_bound(redis_url: str, redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("maskq.producer.state.ledger.gathering.MAX_BYTES", 1000)  # a result has some 150 bytes
    settings = Settings(broker_url=redis_url)
    with Client(settings=settings) as client:
        jobs = list(client.submit_many(images(40)))
        for job in jobs:
            simulated_worker.finish(job.id, settings)
        outcomes: list[Any] = []
        fetched = counted(redis, "mget", lambda: outcomes.extend(client.as_completed(jobs)))
    assert [job for job, _ in outcomes] == jobs and all(isinstance(result, Result) for _, result in outcomes)
    assert fetched >= 5


def test_jobs_come_in_the_order_of_their_ends_by_one_subscription(redis_url: str, redis: Redis) -> None:
    settings = Settings(broker_url=redis_url)
    with Client(settings=settings) as client:
        jobs, before = list(client.submit_many(images(20))), calls(redis, "subscribe")
        completed = client.as_completed([*jobs, client.job("unknown")], timeout=60)
        job, error = next(completed)
        assert job.id == "unknown" and isinstance(error, UnknownJob)
        for job in reversed(jobs[1:]):
            labels = simulated_worker.finish(job.id, settings)
            ended, result = next(completed)
            assert ended is job and isinstance(result, Result) and result.label_file == labels
        simulated_worker.fail(jobs[0].id, settings, FAILURE)
        assert isinstance(next(completed)[1], JobFailed) and next(completed, None) is None
        assert calls(redis, "subscribe") - before == 1


def test_jobs_that_do_not_end_in_time_go_on(client: Client) -> None:
    jobs = list(client.submit_many(images(2)))
    jobs[0].cancel()
    completed = client.as_completed(jobs, timeout=0.5)
    assert next(completed)[0] is jobs[0]
    with pytest.raises(WaitTimeout, match="1 jobs have not ended after 0.5 s"):
        next(completed)
    assert jobs[1].state is State.QUEUED


@pytest.fixture
def mortal(tmp_path: Path) -> Iterator[str]:
    """A Redis that is started again when it dies."""
    server, supervisor = private_redis(tmp_path / "redis"), Supervisor(tmp_path / "log")
    supervisor.start(server.program)
    try:
        until(lambda: _answers(server.url), 30)
        yield server.url
    finally:
        supervisor.stop(grace_s=5)


def _answers(url: str) -> bool:
    try:
        with Client(url) as client:
            client.check()
    except BrokerUnavailable:
        return False
    return True


def _kill(url: str) -> None:
    with Redis.from_url(url) as redis:
        os.kill(int(redis.info("server")["process_id"]), signal.SIGKILL)
    until(lambda: _answers(url), 30)


def test_a_redis_that_is_killed_in_the_middle_loses_and_doubles_nothing(mortal: str) -> None:
    settings, sent = Settings(broker_url=mortal), images(200)

    def with_a_kill() -> Iterator[bytes]:
        for number, image in enumerate(sent):
            if number == 100:
                _kill(mortal)
            yield image

    with Client(settings=settings) as client:
        jobs = list(client.submit_many(with_a_kill(), timeout=30))
        assert [job.image() for job in jobs] == sent
        with Redis.from_url(mortal) as redis:
            assert queued(redis) == [job.id for job in jobs]
        completed = client.as_completed(jobs[:4], timeout=60)
        labels = {job.id: simulated_worker.finish(job.id, settings) for job in jobs[:2]}
        found = [next(completed), next(completed)]
        _kill(mortal)
        labels |= {job.id: simulated_worker.finish(job.id, settings) for job in jobs[2:4]}
        found += completed
        assert {job.id: result.label_file for job, result in found if isinstance(result, Result)} == labels


def test_a_map_goes_on_when_redis_is_killed(mortal: str) -> None:
    settings = Settings(broker_url=mortal)
    with Client(settings=settings) as client, ThreadPoolExecutor(1) as threads:
        mapping = threads.submit(lambda: list(client.map(images(12), in_flight=8, timeout=30)))
        labels: list[bytes] = []
        with Redis.from_url(mortal) as redis:
            for number in range(12):
                job_id = until(lambda: queued(redis))[0]
                labels.append(simulated_worker.finish(job_id, settings))
                if number == 5:
                    _kill(mortal)
        assert [result.label_file for result in mapping.result(60)] == labels
