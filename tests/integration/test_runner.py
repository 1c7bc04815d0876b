"""The delivery rules with a real ledger; the test defines the work, and no worker consumes the messages."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from redis import ConnectionPool, Redis

from maskq.producer.errors import PayloadMissing, StoreFull
from maskq.producer.schema import JobSpec, JobStatus, Stage, State
from maskq.producer.state.ledger import Claim, Granted, Ledger, StageResult
from maskq.producer.state.routing import message_lists
from maskq.producer.state.store import FsspecStore, Payload, PayloadStore, RedisStore
from maskq.segmentation.clustering.cluster import Clustering
from maskq.segmentation.clustering.fields import pack
from maskq.segmentation.errors import NotAnImage
from maskq.tasks import field_payload, leases
from maskq.tasks.cluster import Cluster
from maskq.tasks.field_payload import FieldHeader
from maskq.tasks.runner import StageFailed, StageReleased, StageRunner
from tests.acceptance.chaos.proxy import Proxy
from tests.conftest import until


@dataclass
class Work:
    """A stage that calls the test's function and returns some bytes as fields."""

    does: Callable[[], str] = lambda: "said"
    reads = Payload.IMAGE

    def __call__(self, job: JobStatus, read: Callable[[], bytes]) -> StageResult:
        return StageResult(self.does(), {Payload.FIELDS: b"fields"})


def messages(redis: Redis) -> list[tuple[str, str]]:
    """The task and the job of every message on a queue."""
    queued = [json.loads(message) for name in message_lists() for message in redis.lrange(name, 0, -1)]
    return [(message["headers"]["task"], json.loads(message["body"])[0][0]) for message in queued]


@pytest.fixture
def ledger(redis: Redis) -> Ledger:
    ledger = Ledger(redis, retention_s=100, max_queued=10, lease_s=0.3, max_attempts=2)
    ledger.create("job", JobSpec(), None)
    redis.delete(*message_lists())
    return ledger


@pytest.fixture(params=["in the ledger's Redis", "elsewhere"])
def store(request: pytest.FixtureRequest, redis: Redis, tmp_path: Path) -> PayloadStore:
    return RedisStore(redis, 100) if request.param == "in the ledger's Redis" else FsspecStore(str(tmp_path))


def with_store(ledger: Ledger, store: PayloadStore) -> Ledger:
    """A ledger of the same configuration with this store."""
    return Ledger(ledger._redis, store, **asdict(ledger.config))


def stored(store: PayloadStore) -> set[Payload]:
    """The kinds of payloads that the job has."""
    kinds = set()
    for kind in Payload:
        with suppress(PayloadMissing):
            store.get("job", kind)
            kinds.add(kind)
    return kinds


@pytest.fixture
def work() -> Work:
    return Work()


@pytest.fixture
def embed(ledger: Ledger, store: PayloadStore, work: Work) -> StageRunner:
    return StageRunner(Stage.EMBED, with_store(ledger, store), work)


def fails(error: BaseException) -> Callable[[], str]:
    def fail() -> str:
        raise error

    return fail


def test_a_stage_that_is_done_wakes_the_next(
    embed: StageRunner, ledger: Ledger, store: PayloadStore, redis: Redis
) -> None:
    assert embed("job") == "said"
    assert ledger.state("job") is State.EMBEDDED
    assert messages(redis) == [("tasks.cluster", "job")]
    assert stored(store) == {Payload.FIELDS}


def test_the_last_stage_ends_the_job_and_wakes_none(
    embed: StageRunner, ledger: Ledger, store: PayloadStore, redis: Redis, work: Work
) -> None:
    embed("job")
    redis.delete(*message_lists())
    StageRunner(Stage.CLUSTER, with_store(ledger, store), work)("job")
    assert ledger.state("job") is State.DONE
    assert messages(redis) == []


def test_a_message_that_comes_twice_is_dropped(embed: StageRunner, ledger: Ledger, redis: Redis, work: Work) -> None:
    embed("job")
    before = ledger.status("job")
    work.does = fails(AssertionError("worked on twice"))
    assert embed("job") == "dropped: the job is embedded"
    assert embed("no such job") == "dropped: the job is unknown"
    assert ledger.status("job") == before
    assert len(messages(redis)) == 1


@pytest.mark.parametrize("error", [NotAnImage("cells.png: not an image"), PayloadMissing("job: no image")])
def test_a_fault_of_the_job_fails_it_for_good(
    embed: StageRunner, ledger: Ledger, redis: Redis, work: Work, error: Exception
) -> None:
    work.does = fails(error)
    with pytest.raises(StageFailed, match=f"{type(error).__name__}: {error}"):
        embed("job")
    job = ledger.status("job")
    assert job.state is State.FAILED
    assert job.error and (job.error.type, job.error.message, job.error.stage) == (
        type(error).__name__,
        str(error),
        Stage.EMBED,
    )
    assert messages(redis) == []


@pytest.mark.parametrize("error", [MemoryError("2 GiB"), ConnectionError("the store is away")])
def test_a_fault_of_the_worker_gives_the_stage_to_another(
    embed: StageRunner, ledger: Ledger, redis: Redis, work: Work, error: BaseException
) -> None:
    work.does = fails(error)
    with pytest.raises(StageReleased, match=f"{type(error).__name__}: {error}"):
        embed("job")
    assert ledger.state("job") is State.QUEUED
    assert messages(redis) == [("tasks.embed", "job")]
    work.does = lambda: "said"
    assert embed("job") == "said"


def test_a_job_that_breaks_every_worker_is_given_up_and_tells_its_story(
    ledger: Ledger, store: PayloadStore, work: Work, redis: Redis
) -> None:
    embed = StageRunner(Stage.EMBED, with_store(ledger, store), work, worker="gpu0@here")
    work.does = fails(MemoryError("2 GiB"))
    for _ in range(2):
        with pytest.raises(StageReleased):
            embed("job")
    assert embed("job") == "dropped: the job is dead"
    job = ledger.status("job")
    assert job.error and job.error.message == "gave up after 2 attempts at the embed stage: MemoryError: 2 GiB"
    assert [(told.attempt, told.worker, told.error) for told in job.history] == [
        (n, "gpu0@here", "MemoryError: 2 GiB") for n in (1, 2)
    ]


def test_a_result_that_finds_no_room_waits_for_it_and_costs_the_job_no_attempt(
    embed: StageRunner, ledger: Ledger, redis: Redis, work: Work
) -> None:
    work.does = fails(StoreFull("no room for 5 bytes"))
    with pytest.raises(StageReleased, match="no room for 5 bytes"):
        embed("job")
    job = ledger.status("job")
    assert (job.state, job.attempts, job.suspect) == (State.QUEUED, {Stage.EMBED: 0}, False)
    assert messages(redis) == []
    assert until(lambda: list(ledger.resume_delayed())) == ["job"]
    assert messages(redis) == [("tasks.embed", "job")]


def test_a_worker_that_is_stopped_costs_the_job_no_attempt(embed: StageRunner, ledger: Ledger, work: Work) -> None:
    def shut_down() -> str:
        embed.return_all_to_queue()
        return ""

    work.does = shut_down
    for _ in range(5):
        assert embed("job") == "dropped: the job is queued"
    job = ledger.status("job")
    assert (job.state, job.attempts, job.history) == (State.QUEUED, {Stage.EMBED: 0}, ())


def test_a_worker_that_is_stopped_begins_nothing_that_it_still_claims(
    embed: StageRunner, ledger: Ledger, work: Work
) -> None:
    work.does = fails(AssertionError("begun"))
    embed.return_all_to_queue()
    assert embed("job") == "dropped: the job is queued"
    assert ledger.status("job").attempts == {Stage.EMBED: 0}


def test_a_lease_outlives_connections_that_went_silent(ledger: Ledger, redis: Redis, work: Work) -> None:
    to = redis.connection_pool.connection_kwargs
    proxy = Proxy(to["port"])
    through = Redis(connection_pool=ConnectionPool(**(to | {"port": proxy.port, "socket_timeout": 60})))
    embed = StageRunner(Stage.EMBED, Ledger(through, RedisStore(through, 100), lease_s=3), work)
    began = time.monotonic()

    def goes_on() -> str:
        until(lambda: time.monotonic() > began + 1.5)  # the lease was renewed once
        proxy.silence()
        until(lambda: time.monotonic() > began + 6)
        assert list(ledger.reclaim_lost()) == []
        through.connection_pool.disconnect()  # the connections of `store` and `finish` have a longer timeout
        return "said"

    work.does = goes_on
    try:
        assert embed("job") == "said"
    finally:
        proxy.close()


def test_another_attempt_waits_longer_each_time(ledger: Ledger, work: Work, redis: Redis) -> None:
    made = Ledger(redis, max_attempts=9)
    embed = StageRunner(Stage.EMBED, made, work, retry_s=10)
    work.does = fails(ConnectionError("the store is away"))
    delays = []
    for _ in range(4):
        with pytest.raises(StageReleased):
            embed("job")
        now = redis.time()[0]
        delays.append((redis.zscore("maskq:delayed", "job") or 0) - now)
        redis.zadd("maskq:delayed", {"job": 1})
        assert list(made.resume_delayed()) == ["job"]
    for delay, usual in zip(delays, (10, 20, 40, 60), strict=True):
        assert usual / 2 - 1 <= delay <= usual * 1.5 + 1


def test_a_suspect_runs_alone(ledger: Ledger, redis: Redis) -> None:
    """A job may have killed the worker that ran it, so its next attempt runs without other jobs."""
    concurrent: list[set[str]] = []
    running: set[str] = set()

    class Watched(Work):
        def __call__(self, job: JobStatus, read: Callable[[], bytes]) -> StageResult:
            running.add(job.id)
            concurrent.append(set(running))
            threading.Event().wait(0.05)
            running.discard(job.id)
            return StageResult("said")

    ledger = Ledger(redis)
    for n in range(12):
        ledger.create(f"job{n}", JobSpec(), None)
    ledger.claim(Claim("job5", Stage.EMBED, "dies"))
    redis.zadd("maskq:leases", {"job5": 1})
    assert list(ledger.reclaim_lost()) == ["job5"]
    embed = StageRunner(Stage.EMBED, ledger, Watched())
    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(embed, [f"job{n}" for n in range(12)])) == {"said"}
    assert {"job5"} in concurrent
    assert all(jobs == {"job5"} for jobs in concurrent if "job5" in jobs)
    assert max(map(len, concurrent)) > 1


def lease_ends(redis: Redis) -> list[float]:
    """When the leases end, the earliest first: seconds since 1970."""
    leases: list[Any] = redis.zrange("maskq:leases", 0, -1, withscores=True)
    return [end for _, end in leases]


def lease_end(redis: Redis) -> float:
    """When the only lease ends; 0 if there is none."""
    return max(lease_ends(redis), default=0)


def test_the_lease_is_renewed_for_as_long_as_the_work_lasts(
    embed: StageRunner, ledger: Ledger, work: Work, redis: Redis
) -> None:
    go_on = threading.Event()
    work.does = lambda: str(go_on.wait(20))
    with ThreadPoolExecutor(1) as pool:
        working = pool.submit(embed, "job")
        first = until(lambda: lease_end(redis))
        until(lambda: lease_end(redis) > first + 2 * ledger.lease_s)
        assert list(ledger.reclaim_lost()) == []
        go_on.set()
        assert working.result(20) == "True"
    assert ledger.state("job") is State.EMBEDDED


def test_the_lease_is_renewed_while_a_large_image_comes(
    ledger: Ledger, store: PayloadStore, work: Work, redis: Redis
) -> None:
    class Slow(Ledger):
        def claim(self, claim: Claim, reads: Payload | None = None, worker: str = "") -> Granted | str:
            claimed = super().claim(claim, reads, worker)
            first = lease_end(redis)
            until(lambda: lease_end(redis) > first + 2 * ledger.lease_s)
            return claimed

    embed = StageRunner(Stage.EMBED, Slow(redis, store, **asdict(ledger.config)), work)
    assert embed("job") == "said"


def test_many_threads_that_begin_at_once_all_hold_their_leases(ledger: Ledger, redis: Redis) -> None:
    for n in range(8):
        ledger.create(f"job{n}", JobSpec(), None)
    all_in = threading.Barrier(9)
    delivery = StageRunner(Stage.EMBED, ledger, Work(lambda: str(all_in.wait(20))))
    with ThreadPoolExecutor(8) as pool:
        working = [pool.submit(delivery, f"job{n}") for n in range(8)]
        until(lambda: redis.zcard("maskq:leases") == 8)
        last = max(lease_ends(redis))
        until(lambda: lease_ends(redis)[0] > last + ledger.lease_s)
        all_in.wait(20)
        assert len({answer.result(20) for answer in working}) == 8


def test_what_was_cancelled_while_it_was_worked_on_is_thrown_away(
    embed: StageRunner, ledger: Ledger, store: PayloadStore, work: Work, redis: Redis
) -> None:
    work.does = lambda: str(ledger.cancel("job"))
    assert embed("job") == "dropped: the job is cancelled"
    assert stored(store) == set()
    assert messages(redis) == []


def test_work_on_a_job_that_is_cancelled_stops_at_its_next_step(embed: StageRunner, ledger: Ledger, work: Work) -> None:
    def steps() -> str:
        embed("nothing, but the thread that keeps leases runs now")
        ledger.cancel("job")
        until(lambda: (lease := leases.held()) and lease.lost_since)
        leases.check()
        return "went on"

    work.does = steps
    assert embed("job") == "dropped: the job is cancelled"


def test_what_another_worker_has_meanwhile_is_left_to_it(
    embed: StageRunner, ledger: Ledger, work: Work, redis: Redis
) -> None:
    def lose_the_lease() -> str:
        redis.zadd("maskq:leases", {"job": 1})
        assert list(ledger.reclaim_lost()) == ["job"]
        assert not isinstance(ledger.claim(Claim("job", Stage.EMBED, "another")), str)
        return "too late"

    work.does = lose_the_lease
    assert embed("job") == "dropped: the job is embedding"
    assert messages(redis) == [("tasks.embed", "job")]
    assert ledger.finish(Claim("job", Stage.EMBED, "another"))


def fields_of_one_object() -> bytes:
    raw = np.full((5, 12, 10), -3, np.float32)
    raw[2:4] = 0.3
    raw[4, 3:9, 2:8] = 5
    return field_payload.encode(FieldHeader(model="nuclei@3", clustering=Clustering(min_pixels=1)), pack(raw, unit=64))


def embedded(ledger: Ledger, store: PayloadStore) -> StageRunner:
    """Move the job to its second stage; returns that stage's runner."""
    store.put("job", Payload.FIELDS, fields_of_one_object())
    ledger.claim(Claim("job", Stage.EMBED, "one"))
    ledger.finish(Claim("job", Stage.EMBED, "one"))
    return StageRunner(Stage.CLUSTER, with_store(ledger, store), Cluster(ledger))


def test_what_the_second_stage_read_is_gone_when_the_job_is_done(ledger: Ledger, store: PayloadStore) -> None:
    assert embedded(ledger, store)("job") == "1 objects"
    assert stored(store) == {Payload.OBJECTS, Payload.LABELS}
    assert b'"model":"nuclei@3"' in store.get("job", Payload.OBJECTS)


def test_a_worker_that_died_before_it_could_tell_has_not_taken_the_fields_with_it(
    ledger: Ledger, store: PayloadStore, redis: Redis
) -> None:
    cluster = embedded(ledger, store)
    claimed = with_store(ledger, store).claim(Claim("job", Stage.CLUSTER, "dies"), Payload.FIELDS)
    assert isinstance(claimed, Granted) and Cluster(ledger)(claimed.job, claimed.read).summary == "1 objects"
    redis.zadd("maskq:leases", {"job": 1})
    assert list(ledger.reclaim_lost()) == ["job"]
    assert cluster("job") == "1 objects"


def test_a_payload_that_is_gone_fails_the_job_by_name(ledger: Ledger, store: PayloadStore) -> None:
    cluster = embedded(ledger, store)
    store.drop("job", Payload.FIELDS)
    with pytest.raises(StageFailed, match="PayloadMissing: job job: the store has no fields of it any more"):
        cluster("job")


def test_payloads_in_pieces_are_read_and_written_as_others_are(
    ledger: Ledger, store: PayloadStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("maskq.producer.state.pieces.PIECE", 10)
    assert embedded(ledger, store)("job") == "1 objects"
    assert stored(store) == {Payload.OBJECTS, Payload.LABELS}


def test_a_redis_that_has_forgotten_the_script_is_told_it_again(
    embed: StageRunner, ledger: Ledger, store: PayloadStore, work: Work, redis: Redis
) -> None:
    redis.script_flush()
    work.does = lambda: str(redis.script_flush())
    assert embed("job") == "True"
    assert (ledger.state("job"), stored(store)) == (State.EMBEDDED, {Payload.FIELDS})


def test_a_worker_that_comes_too_late_changes_nothing_of_a_job_that_is_done(ledger: Ledger, redis: Redis) -> None:
    store = RedisStore(redis, 100)
    cluster, claim = embedded(ledger, store), Claim("job", Stage.CLUSTER, "late")
    assert isinstance(late := ledger.claim(claim, Payload.FIELDS), Granted)
    redis.zadd("maskq:leases", {"job": 1})
    assert list(ledger.reclaim_lost()) == ["job"]
    assert cluster("job") == "1 objects"
    before = store.get("job", Payload.LABELS)
    assert not ledger.finish(claim, StageResult("late", {Payload.LABELS: b"late", Payload.OBJECTS: b"{}"}))
    assert late.job.id == "job" and store.get("job", Payload.LABELS) == before
    assert stored(store) == {Payload.LABELS, Payload.OBJECTS}
    assert len(redis.keys("maskq:payload:*")) == 2


def test_a_finish_whose_answer_was_lost_is_asked_again_and_leaves_nothing(ledger: Ledger, redis: Redis) -> None:
    store = RedisStore(redis, 100)
    claim, done = Claim("job", Stage.EMBED, "one"), StageResult("said", {Payload.FIELDS: fields_of_one_object()})
    ledger.claim(claim, Payload.IMAGE)
    assert [ledger.finish(claim, done) for _ in range(2)] == [True, True]
    assert stored(store) == {Payload.FIELDS} and redis.ttl("maskq:payload:job:fields") == -1
    assert StageRunner(Stage.CLUSTER, with_store(ledger, store), Cluster(ledger))("job") == "1 objects"
    assert not ledger.finish(claim, done)
    assert stored(store) == {Payload.LABELS, Payload.OBJECTS} and len(redis.keys("maskq:payload:*")) == 2


def test_of_a_stage_that_finds_redis_full_nothing_is_stored(ledger: Ledger, work: Work, redis: Redis) -> None:
    store = RedisStore(redis, 100)
    embed = StageRunner(Stage.EMBED, with_store(ledger, store), work)
    work.does = lambda: str(redis.config_set("maxmemory", 1))
    try:
        with pytest.raises(StageReleased, match="Redis is full"):
            embed("job")
    finally:
        redis.config_set("maxmemory", 0)
    job = ledger.status("job")
    assert (job.state, job.attempts, stored(store)) == (State.QUEUED, {Stage.EMBED: 0}, set())
