"""The client without workers: what it stores, returns and raises."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
from redis import Connection, Redis

from maskq import (
    BrokerUnavailable,
    Client,
    JobCancelled,
    QueueFull,
    ResultNotReady,
    Settings,
    State,
    UnknownJob,
    WaitTimeout,
)
from maskq.producer.state.routing import queue_length
from tests.acceptance.chaos.proxy import Proxy
from tests.conftest import png, text, until
from tests.integration.simulated_worker import finish

IMAGE = png(np.zeros((4, 6), np.uint8))


@pytest.fixture
def client(redis_url: str) -> Iterator[Client]:
    with Client(redis_url, settings=Settings(max_queued=3)) as client:
        yield client


def test_a_submitted_image_is_stored_recorded_and_queued(client: Client, redis: Redis) -> None:
    job = client.submit(IMAGE, name="cells.png", priority=9)
    assert job.state is State.QUEUED
    assert job.image() == IMAGE
    assert queue_length(redis, "embed.varied") == 1
    assert client.job(job.id).status().spec.name == "cells.png"


def test_a_path_gives_the_job_its_name_and_pixels_become_a_file(client: Client, tmp_path: Path) -> None:
    (tmp_path / "cells.png").write_bytes(IMAGE)
    from_path, from_pixels = client.submit(tmp_path / "cells.png"), client.submit(np.arange(12).reshape(3, 4))
    assert (from_path.status().spec.name, from_path.image()) == ("cells.png", IMAGE)
    assert from_pixels.image().startswith(b"\x93NUMPY")


def test_a_name_may_have_any_bytes_and_any_length(client: Client, tmp_path: Path) -> None:
    strange = tmp_path / os.fsdecode(b"cells-\xff.png")
    strange.write_bytes(IMAGE)
    assert client.submit(strange).status().spec.name == "cells-?.png"
    assert client.submit(IMAGE, name="é" * 300).status().spec.name == "é" * 255


def test_a_full_queue_rejects_an_image_and_does_not_store_it(client: Client, redis: Redis) -> None:
    jobs = [client.submit(IMAGE) for _ in range(3)]
    with pytest.raises(QueueFull, match="3 jobs are unfinished"):
        client.submit(IMAGE)
    assert len(redis.keys("maskq:payload:*")) == 3
    jobs[0].cancel()
    client.submit(IMAGE)


def test_an_image_survives_a_lost_answer_even_if_redis_is_full_by_then(
    client: Client, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger, create = client._connections.ledger, client._connections.ledger.create

    def twice(*arguments: Any, **options: Any) -> str:
        create(*arguments, **options)
        redis.config_set("maxmemory", 1)
        return create(*arguments, **options)

    monkeypatch.setattr(ledger, "create", twice)
    try:
        job = client.submit(IMAGE)
    finally:
        redis.config_set("maxmemory", 0)
    assert job.image() == IMAGE


def test_a_submission_that_waits_for_room_backs_off(client: Client, redis: Redis) -> None:
    for _ in range(3):
        client.submit(IMAGE)
    before = redis.info("commandstats")["cmdstat_set"]["calls"]
    with pytest.raises(QueueFull):
        client.submit(IMAGE, timeout=3)
    assert redis.info("commandstats")["cmdstat_set"]["calls"] - before <= 6


def test_a_wait_ends_in_time_if_the_broker_is_silent(redis_url: str) -> None:
    port = str(urlsplit(redis_url).port)
    with closing(Proxy(int(port))) as proxy, Client(redis_url.replace(port, str(proxy.port))) as client:
        job = client.submit(IMAGE)
        with pytest.raises(WaitTimeout):
            job.wait(0.1)
        with proxy.stalled():
            began = time.monotonic()
            with pytest.raises((BrokerUnavailable, WaitTimeout)):
                job.wait(1)
            assert time.monotonic() - began < 15


def test_a_cancelled_job_has_ended_and_its_image_is_deleted(client: Client, redis: Redis) -> None:
    job = client.submit(IMAGE)
    assert job.cancel() is job.cancel() is State.CANCELLED
    with pytest.raises(JobCancelled, match="cancelled while queued"):
        job.wait(timeout=5)
    assert redis.keys("maskq:payload:*") == []


def test_an_early_request_for_a_result_raises_with_the_jobs_state(client: Client) -> None:
    job = client.submit(IMAGE)
    with pytest.raises(ResultNotReady, match="is queued"):
        job.result()
    with pytest.raises(WaitTimeout, match="is queued after 0.05 s"):
        job.wait(timeout=0.05)


def test_a_finished_result_comes_in_one_round_trip(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    settings, sent = Settings(broker_url=redis_url), []
    with Client(settings=settings) as client:
        job = client.submit(IMAGE)
        labels = finish(job.id, settings)
        assert job.wait(5).label_file == labels == job.result().label_file  # and now the connection is open

        def send(
            self: Connection, *commands: Any, original: Any = Connection.send_packed_command, **options: Any
        ) -> Any:
            sent.append(commands)
            return original(self, *commands, **options)

        monkeypatch.setattr(Connection, "send_packed_command", send)
        assert job.wait(5).label_file == labels
    assert len(sent) == 1


@pytest.mark.parametrize("where", ["pieces", "folder"])
def test_a_result_that_does_not_come_with_the_status_is_fetched(
    redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    settings = Settings(broker_url=redis_url)
    if where == "pieces":
        monkeypatch.setattr("maskq.producer.state.pieces.PIECE", 10)
    else:
        settings = Settings(broker_url=redis_url, store_url=f"file://{tmp_path}")
    with Client(settings=settings) as client, ThreadPoolExecutor(1) as pool:
        job = client.submit(IMAGE)
        waiting = pool.submit(job.wait, 20)
        labels = finish(job.id, settings)
        assert waiting.result(20).label_file == labels


def test_many_threads_wait_on_one_client(client: Client) -> None:
    job = client.submit(IMAGE)

    def wait(_: int) -> str:
        with pytest.raises(WaitTimeout) as raised:
            job.wait(timeout=1)
        return str(raised.value)

    with ThreadPoolExecutor(130) as threads:
        assert len(set(threads.map(wait, range(130)))) == 1


def test_a_job_that_never_existed_is_unknown(client: Client) -> None:
    for access in (client.job("x").status, client.job("x").wait, client.job("x").result, client.job("x").cancel):
        with pytest.raises(UnknownJob, match="no job x"):
            access()


def test_a_broker_that_does_not_answer_is_an_error() -> None:
    with Client("redis://127.0.0.1:1") as client, pytest.raises(BrokerUnavailable, match="does not answer"):
        client.check()


def test_closing_a_map_cancels_the_jobs_in_flight(client: Client, redis: Redis) -> None:
    results = client.map([IMAGE] * 9, in_flight=3)
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(next, results)
        until(lambda: redis.zcard("maskq:active") == 3)
        first, *others = (client.job(text(job_id)) for job_id in redis.zrange("maskq:active", 0, -1))
        first.cancel()
        with pytest.raises(JobCancelled):
            waiting.result(20)
    assert {job.state for job in others} == {State.CANCELLED}


@pytest.mark.parametrize("method", ["create", "create_many"])
def test_a_submission_that_is_interrupted_leaves_no_job(
    client: Client, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    """Ctrl-C, or a notebook's interrupt button, after Redis has the jobs and before the caller has them."""
    ledger = client._connections.ledger
    create = getattr(ledger, method)

    def interrupted(*arguments: Any, **options: Any) -> str:
        create(*arguments, **options)
        raise KeyboardInterrupt

    monkeypatch.setattr(ledger, method, interrupted)
    with pytest.raises(KeyboardInterrupt):
        client.submit(IMAGE) if method == "create" else list(client.submit_many([IMAGE] * 3))
    assert client.stats().unfinished == 0


def test_a_map_yields_an_unreadable_file_as_an_error_in_its_place(client: Client, tmp_path: Path) -> None:
    outcomes = client.map([tmp_path / "a.png", tmp_path / "b.png"], errors="return")
    assert [Path(outcome.filename).name for outcome in outcomes if isinstance(outcome, OSError)] == ["a.png", "b.png"]
    with pytest.raises(FileNotFoundError):
        list(client.map([tmp_path / "a.png"]))
