"""What ended jobs still hold is bounded: images go before their time, and then nothing more is taken."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from redis import Redis

from maskq import Settings
from maskq.producer.errors import PayloadMissing, QueueFull
from maskq.producer.schema import Failure, JobSpec, Stage, State
from maskq.producer.state.connections import Connections
from maskq.producer.state.ledger import Claim, Ledger, Plane, StageResult
from maskq.producer.state.store import FsspecStore, Payload, PayloadStore, RedisStore
from maskq.tasks.reconciler import Reconciler
from maskq.workers.local.stack import Stack, running
from tests.conftest import until


@pytest.fixture(params=["in Redis", "elsewhere"])
def store(request: pytest.FixtureRequest, redis: Redis, tmp_path: Path) -> PayloadStore:
    return RedisStore(redis, 100) if request.param == "in Redis" else FsspecStore(str(tmp_path))


def ledger_of(redis: Redis, store: PayloadStore, max_ended_bytes: int, **config: int) -> Ledger:
    times = {"retention_s": 100, "failed_input_s": 50}
    return Ledger(redis, store, max_ended_bytes=max_ended_bytes, max_attempts=1, **(times | config))


def result_of(size: int) -> dict[Payload, bytes]:
    return {Payload.LABELS: bytes(size - 1), Payload.OBJECTS: b"x"}


def end(ledger: Ledger, job_id: str, state: State, result: int = 10) -> None:
    """A job with an image of 100 bytes ends; if it is done, with a result."""
    ledger.create(job_id, JobSpec(), None, bytes(100))
    claim = Claim(job_id, Stage.EMBED, "one")
    ledger.claim(claim)
    if state is State.FAILED:
        ledger.fail(claim, Failure(type="NotAnImage", message=""))
    elif state is State.DEAD:
        ledger.release(claim, "MemoryError")
    else:
        ledger.finish(claim, StageResult("", {Payload.FIELDS: bytes(1000)}))
        claim = Claim(job_id, Stage.CLUSTER, "one")
        ledger.claim(claim)
        ledger.finish(claim, StageResult("", result_of(result)))


def has_image(store: PayloadStore, job_id: str) -> bool:
    try:
        return bool(store.get(job_id, Payload.IMAGE))
    except PayloadMissing:
        return False


def round_of(redis: Redis, ledger: Ledger, store: PayloadStore) -> None:
    Reconciler(redis, ledger, 1000).run_round()
    store.flush()


def test_images_of_failed_jobs_go_first_and_then_the_oldest(redis: Redis, store: PayloadStore) -> None:
    ledger = ledger_of(redis, store, 350)
    for n in range(2):
        end(ledger, f"done{n}", State.DONE)
    end(ledger, "failed", State.FAILED)
    end(ledger, "dead", State.DEAD)
    round_of(redis, ledger, store)
    assert [has_image(store, job_id) for job_id in ("done0", "done1", "failed", "dead")] == [True, True, False, True]
    end(ledger, "done2", State.DONE)
    round_of(redis, ledger, store)
    assert [has_image(store, job_id) for job_id in ("done0", "done1", "done2", "dead")] == [False, True, True, True]
    assert redis.get("maskq:held:bytes") == b"330"


def test_results_are_kept_and_then_nothing_more_is_taken(redis: Redis, store: PayloadStore) -> None:
    ledger = ledger_of(redis, store, 1000)
    end(ledger, "large", State.DONE, 1001)
    round_of(redis, ledger, store)
    with pytest.raises(QueueFull, match="ended jobs hold 1,001 of 1,000 bytes of results: delete some, or wait"):
        ledger.create("job", JobSpec(), None, bytes(100))
    assert not has_image(store, "job") and len(store.get("large", Payload.LABELS)) == 1000
    ledger.delete("large")
    ledger.create("job", JobSpec(), None, bytes(100))
    assert redis.get("maskq:held:bytes") == b"0"


def test_what_has_expired_is_not_counted(redis: Redis, store: PayloadStore) -> None:
    ledger = ledger_of(redis, store, 10_000, failed_input_s=1)
    end(ledger, "failed", State.FAILED)
    end(ledger, "done", State.DONE)
    assert redis.get("maskq:held:bytes") == b"210"

    def forgotten() -> bool:
        round_of(redis, ledger, store)
        return redis.get("maskq:held:bytes") == b"110" and not has_image(store, "failed")

    until(forgotten)
    assert has_image(store, "done")


def test_a_dead_letter_holds_everything_until_it_goes_on(redis: Redis, store: PayloadStore) -> None:
    ledger = ledger_of(redis, store, 10_000)
    ledger.create("dead", JobSpec(), None, bytes(100))
    ledger.claim(Claim("dead", Stage.EMBED, "one"))
    ledger.finish(Claim("dead", Stage.EMBED, "one"), StageResult("", {Payload.FIELDS: bytes(1000)}))
    ledger.claim(Claim("dead", Stage.CLUSTER, "one"))
    ledger.release(Claim("dead", Stage.CLUSTER, "one"), "MemoryError")
    assert redis.get("maskq:held:bytes") == b"1100"
    assert ledger.requeue("dead")
    assert redis.get("maskq:held:bytes") == b"0" and not redis.exists("maskq:held:results")


@pytest.mark.parametrize("state", [State.DONE, State.FAILED, State.DEAD, State.CANCELLED])
def test_planes_are_counted_once_while_they_are_kept(redis: Redis, store: PayloadStore, state: State) -> None:
    ledger = ledger_of(redis, store, 10_000)
    ledger.create("stack", JobSpec(), None, bytes(100))
    ledger.claim(Claim("stack", Stage.EMBED, "one"))
    planes = [Plane(number, JobSpec(), "4x4", bytes(100)) for number in (1, 2)]
    ledger.finish(Claim("stack", Stage.EMBED, "one"), StageResult("", {Payload.FIELDS: b"manifest"}, planes=planes))
    for plane in ("stack-00001", "stack-00002"):
        ledger.claim(Claim(plane, Stage.EMBED, "one"))
        if plane == "stack-00002":
            ledger.release(Claim(plane, Stage.EMBED, "one"), "MemoryError")
            continue
        ledger.finish(Claim(plane, Stage.EMBED, "one"), StageResult("", {Payload.FIELDS: bytes(1000)}))
        ledger.claim(Claim(plane, Stage.CLUSTER, "one"))
        ledger.finish(Claim(plane, Stage.CLUSTER, "one"), StageResult("", result_of(10)))
    claim = Claim("stack", Stage.CLUSTER, "one")
    if state is State.CANCELLED:
        ledger.cancel("stack")
    else:
        ledger.claim(claim)
    if state is State.DONE:
        ledger.finish(claim, StageResult("", result_of(20)))
    elif state is State.FAILED:
        ledger.fail(claim, Failure(type="PlanesFailed", message=""))
    elif state is State.DEAD:
        ledger.release(claim, "MemoryError")
    # A dead stack keeps its planes: one that is done, and one that is dead.
    expected = {State.DONE: 120, State.FAILED: 100, State.DEAD: 100 + 10 + 100, State.CANCELLED: 0}[state]
    assert int(redis.get("maskq:held:bytes") or 0) == expected
    ledger.delete("stack")
    assert int(redis.get("maskq:held:bytes") or 0) == 0
    assert not redis.exists("maskq:held:images", "maskq:held:results")


# A real stack


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    settings = Settings(devices="cpu", cluster_processes=1, max_ended_bytes=4_000_000, max_queued_bytes=4_000_000)
    with running(settings, gateway=True) as stack:
        yield stack


def test_whatever_is_sent_is_bounded(stack: Stack, connections: Connections) -> None:
    """Uploads that no worker can read, one after the other: Redis holds the bounds and no more."""
    redis, most = connections.redis, 0
    jobs: list[str] = []
    with httpx.Client(base_url=f"{stack.gateway_url}/v1", timeout=60) as http:
        while len(jobs) < 40:
            answer = http.post("/jobs", content=bytes([len(jobs)]) * 1_000_000, headers={"Content-Type": "image/png"})
            if answer.status_code == 202:
                jobs.append(answer.json()["job_id"])
            else:
                assert (answer.status_code, json.loads(answer.text)["type"]) == (429, "urn:maskq:error:QueueFull")
                until(lambda: connections.ledger.unfinished() < 4)
            most = max(most, sum(redis.memory_usage(key) or 0 for key in redis.scan_iter("maskq:payload:*")))
        assert most < 11_000_000
        until(lambda: connections.ledger.unfinished() == 0, 60)
        assert {http.get(f"/jobs/{job_id}").json()["state"] for job_id in jobs} == {"failed"}
    held = int(redis.get("maskq:held:bytes") or 0)
    assert 3_000_000 <= held <= 4_000_000
    assert sum(1 for _ in redis.scan_iter("maskq:payload:*:image")) == held // 1_000_000
