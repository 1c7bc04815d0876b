"""Dead letters, garbage collection, full stores and reuse, through a client."""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest
from redis import Redis

from maskq import Client, IdempotencyConflict, Job, Limits, Options, Settings
from maskq.producer.errors import BrokerUnavailable, StoreFull
from maskq.producer.schema import JobSpec, Stage, State
from maskq.producer.state.ledger import Claim, Ledger
from maskq.producer.state.store import FsspecStore, Payload
from tests.conftest import until


@pytest.fixture
def client(redis: Redis, redis_url: str, tmp_path: Path) -> Client:
    return Client(settings=Settings(broker_url=redis_url, store_url=f"file://{tmp_path}", max_attempts=1))


def die(redis: Redis, client: Client, image: bytes, reason: str) -> str:
    """Submit a job whose only attempt fails."""
    job = client.submit(image)
    ledger = Ledger(redis, max_attempts=1)
    assert not isinstance(ledger.claim(Claim(job.id, Stage.EMBED, "one"), worker="gpu0@here"), str)
    ledger.release(Claim(job.id, Stage.EMBED, "one"), reason)
    return job.id


def test_dead_letters_are_filtered_by_reason_and_age(redis: Redis, client: Client) -> None:
    memory, disk = die(redis, client, b"1", "MemoryError: 2 GiB"), die(redis, client, b"2", "OSError: No space left")
    assert [job.id for job in client.dead()] == [memory, disk]
    assert [job.id for job in client.dead(reason="no space")] == [disk]
    assert client.dead(older_s=3600) == []
    assert client.dead(reason="memory")[0].history[0].worker == "gpu0@here"


def test_a_dead_letter_is_requeued_at_its_stage_or_dropped(redis: Redis, client: Client) -> None:
    one, other = die(redis, client, b"1", "MemoryError"), die(redis, client, b"2", "MemoryError")
    assert client.requeue(one)
    assert not client.requeue(one)
    assert client.job(one).state is State.QUEUED
    assert client.drop(other)
    assert not client.drop(one)
    assert client.dead() == []


def test_gc_deletes_payloads_without_a_job(redis: Redis, client: Client, tmp_path: Path) -> None:
    store = FsspecStore(f"file://{tmp_path}")
    store.put("0" * 32, Payload.IMAGE, b"left by a producer that died")
    old = time.time() - 4000
    os.utime(tmp_path / ("0" * 32) / "image", (old, old))
    store.put("1" * 32, Payload.IMAGE, b"a producer is about to submit its job")
    waiting = client.submit(b"waits")
    assert client.gc(dry_run=True) == client.gc(dry_run=True) == {"jobs": 0, "orphans": 1}
    assert client.gc() == {"jobs": 0, "orphans": 1}
    assert client.gc() == {"jobs": 0, "orphans": 0}
    assert {path.name for path in tmp_path.iterdir()} == {"1" * 32, waiting.id}


def test_ended_jobs_and_their_files_are_deleted_after_retention(redis: Redis, redis_url: str, tmp_path: Path) -> None:
    settings = Settings(broker_url=redis_url, store_url=f"file://{tmp_path}", retention_s=1)
    with Client(settings=settings) as client:
        client.submit(b"1").cancel()
        FsspecStore(f"file://{tmp_path}").put("0" * 32, Payload.IMAGE, b"another's")
        assert until(lambda: client.gc()["jobs"]) == 1


def test_a_nearly_full_redis_accepts_only_the_workers_writes(redis: Redis, redis_url: str) -> None:
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


def twins(redis: Redis, *jobs: Job) -> list[bool]:
    """Whether each job may share the work of an earlier one."""
    return [bool(redis.hexists(f"maskq:job:{job.id}", "twin")) for job in jobs]


def test_each_submission_is_a_job_and_equal_ones_of_one_client_share_their_work(redis: Redis, redis_url: str) -> None:
    with Client(settings=Settings(broker_url=redis_url, reuse=True)) as client:
        first = client.submit(b"image", client="a")
        equal = [
            client.submit(b"image", client="a", name="other.png", priority=9),
            client.submit(b"image", client="a", limits=Limits(expires_s=99)),
        ]
        other = [
            client.submit(b"image", client="b"),
            client.submit(b"image"),
            client.submit(b"another image", client="a"),
            client.submit(b"image", client="a", model="phase-contrast"),
            client.submit(b"image", client="a", options=Options(tta=True)),
            client.submit(b"image", client="a", limits=Limits(max_pixels=99)),
            client.submit(b"image", client="a", reuse=False),
        ]
    assert twins(redis, first, *equal, *other) == [False, True, True] + [False] * len(other)
    assert len({job.id for job in (first, *equal, *other)}) == 10
    assert equal[0].status().spec.name == "other.png"


def test_work_is_shared_across_clients_only_if_a_setting_says_so(redis: Redis, redis_url: str) -> None:
    for across, expected in ((False, [False] * 3), (True, [False, True, True])):
        redis.flushall()
        with Client(settings=Settings(broker_url=redis_url, reuse=True, share_across_clients=across)) as client:
            assert twins(redis, *(client.submit(b"image", client=name) for name in ("a", "b", ""))) == expected


def test_senders_without_a_name_share_neither_keys_nor_work(redis: Redis, redis_url: str) -> None:
    with Client(settings=Settings(broker_url=redis_url, reuse=True)) as client:
        senders = ["10.0.0.1", "fe80::1", "", None]
        jobs = [client.enqueue(b"image", JobSpec(), idempotency_key="k", sender=sender) for sender in senders]
        assert len({job.id for job in jobs}) == 4 and twins(redis, *jobs) == [False] * 4
        assert client.submit(b"image", idempotency_key="k").id == jobs[-1].id
        for sender in senders:
            with pytest.raises(IdempotencyConflict):
                client.enqueue(b"another image", JobSpec(), idempotency_key="k", sender=sender)


def test_a_key_with_another_image_model_options_or_limits_is_refused(redis: Redis, redis_url: str) -> None:
    with Client(settings=Settings(broker_url=redis_url)) as client:
        submit = partial(client.submit, client="a", idempotency_key="k")
        job = submit(b"image")
        assert submit(b"image", name="other.png", priority=0).id == job.id
        for other in ({"model": "phase-contrast"}, {"options": Options(tta=True)}, {"limits": Limits(expires_s=1)}):
            with pytest.raises(IdempotencyConflict, match=job.id):
                submit(b"image", **other)
        with pytest.raises(IdempotencyConflict):
            submit(b"another image")
        assert client.stats().unfinished == 1


def test_submit_waits_for_a_broker_that_is_a_replica_for_a_while(redis: Redis, redis_url: str) -> None:
    with Client(redis_url) as client, ThreadPoolExecutor(1) as thread:
        redis.replicaof("127.0.0.1", "1")
        try:
            with pytest.raises(BrokerUnavailable, match="replica"):
                client.submit(b"1")
            pending = thread.submit(client.submit, b"2", timeout=60)
            assert not pending.done()
        finally:
            redis.replicaof("NO", "ONE")
        assert pending.result(60).state is State.QUEUED
