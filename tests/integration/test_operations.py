"""Dead letters and what is swept up, as a client asks for it."""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from redis import Redis

from maskq import Client, Settings
from maskq.producer.errors import BrokerUnavailable, StoreFull
from maskq.producer.schema import Stage, State
from maskq.producer.state.ledger import Claim, Ledger
from maskq.producer.state.store import FsspecStore, Payload
from tests.conftest import until


@pytest.fixture
def client(redis: Redis, redis_url: str, tmp_path: Path) -> Client:
    return Client(settings=Settings(broker_url=redis_url, store_url=f"file://{tmp_path}", max_attempts=1))


def die(redis: Redis, client: Client, image: bytes, why: str) -> str:
    """Submit a job whose only attempt fails."""
    job = client.submit(image)
    ledger = Ledger(redis, max_attempts=1)
    assert not isinstance(ledger.claim(Claim(job.id, Stage.EMBED, "one"), worker="gpu0@here"), str)
    ledger.release(Claim(job.id, Stage.EMBED, "one"), why)
    return job.id


def test_dead_letters_are_chosen_by_reason_and_age(redis: Redis, client: Client) -> None:
    memory, disk = die(redis, client, b"1", "MemoryError: 2 GiB"), die(redis, client, b"2", "OSError: No space left")
    assert [job.id for job in client.dead()] == [memory, disk]
    assert [job.id for job in client.dead(reason="no space")] == [disk]
    assert client.dead(older_s=3600) == []
    assert client.dead(reason="memory")[0].history[0].worker == "gpu0@here"


def test_a_dead_letter_is_tried_again_from_its_stage_on_or_dropped(redis: Redis, client: Client) -> None:
    one, other = die(redis, client, b"1", "MemoryError"), die(redis, client, b"2", "MemoryError")
    assert client.requeue(one)
    assert not client.requeue(one)
    assert client.job(one).state is State.QUEUED
    assert client.drop(other)
    assert not client.drop(one)
    assert client.dead() == []


def test_what_no_job_needs_any_more_is_swept_up(redis: Redis, client: Client, tmp_path: Path) -> None:
    store = FsspecStore(f"file://{tmp_path}")
    store.put("0" * 32, Payload.IMAGE, b"left by a producer that died")
    old = time.time() - 4000
    os.utime(tmp_path / ("0" * 32) / "image", (old, old))
    store.put("1" * 32, Payload.IMAGE, b"a producer is about to enter it")
    waiting = client.submit(b"waits")
    assert client.gc(dry_run=True) == client.gc(dry_run=True) == {"jobs": 0, "orphans": 1}
    assert client.gc() == {"jobs": 0, "orphans": 1}
    assert client.gc() == {"jobs": 0, "orphans": 0}
    assert {path.name for path in tmp_path.iterdir()} == {"1" * 32, waiting.id}


def test_ended_jobs_go_with_their_files_when_their_time_is_over(redis: Redis, redis_url: str, tmp_path: Path) -> None:
    settings = Settings(broker_url=redis_url, store_url=f"file://{tmp_path}", retention_s=1)
    with Client(settings=settings) as client:
        client.submit(b"1").cancel()
        FsspecStore(f"file://{tmp_path}").put("0" * 32, Payload.IMAGE, b"another's")
        assert until(lambda: client.gc()["jobs"]) == 1


def test_a_redis_that_is_nearly_full_is_for_the_workers(redis: Redis, redis_url: str) -> None:
    used = redis.info("memory")["used_memory"]
    redis.config_set("maxmemory", used + 4_000_000)
    try:
        with Client(settings=Settings(broker_url=redis_url)) as client, pytest.raises(StoreFull, match="Redis uses"):
            for n in range(100):
                client.submit(bytes(100_000) + bytes([n]))
                client._connections.store._memory_read_at = 0  # type: ignore[attr-defined]
        assert redis.set("a worker's", bytes(100_000))
    finally:
        redis.config_set("maxmemory", 0)


def test_the_same_image_is_computed_once_unless_told_otherwise(redis: Redis, redis_url: str) -> None:
    with Client(settings=Settings(broker_url=redis_url, reuse=True)) as client:
        first = client.submit(b"image")
        assert client.submit(b"image").id == first.id
        assert client.submit(b"image", name="other.png", priority=9).id == first.id
        assert client.submit(b"image", model="phase-contrast").id != first.id
        assert client.submit(b"image", reuse=False).id != first.id
        assert client.submit(b"another", idempotency_key="k").id == client.submit(b"third", idempotency_key="k").id
        assert len(list(redis.scan_iter("maskq:payload:*"))) == 4


def test_a_broker_that_is_a_replica_for_a_while_is_waited_for(redis: Redis, redis_url: str) -> None:
    with Client(redis_url) as client, ThreadPoolExecutor(1) as thread:
        redis.replicaof("127.0.0.1", "1")
        try:
            with pytest.raises(BrokerUnavailable, match="takes nothing now"):
                client.submit(b"1")
            waits = thread.submit(client.submit, b"2", timeout=60)
            assert not waits.done()
        finally:
            redis.replicaof("NO", "ONE")
        assert waits.result(60).state is State.QUEUED
