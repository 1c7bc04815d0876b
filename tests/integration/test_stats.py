"""What `maskq stats` is told: counted over a real ledger."""

from __future__ import annotations

import json

import pytest
from prometheus_client.parser import text_string_to_metric_families
from redis import Redis

from maskq.producer.schema import JobSpec, Stage
from maskq.producer.state.exposition import exposition
from maskq.producer.state.keys import DEVICES
from maskq.producer.state.ledger import Claim, Ledger
from maskq.producer.state.stats import collect


@pytest.fixture
def ledger(redis: Redis) -> Ledger:
    return Ledger(redis, retention_s=100, max_queued=100, lease_s=10, max_attempts=3)


def test_an_empty_broker_has_nothing_to_tell(redis: Redis) -> None:
    found = collect(redis)
    assert {name: (queue.waiting, queue.oldest_s) for name, queue in found.queues.items()} == {
        "embed.fixed": (0, 0),
        "embed.varied": (0, 0),
        "cluster": (0, 0),
    }
    assert (found.working, found.unfinished, found.devices) == (0, 0, {})
    assert found.redis_bytes > 0


def test_jobs_are_counted_where_they_are(redis: Redis, ledger: Ledger) -> None:
    for number, priority in enumerate((0, 5, 9, 9)):
        ledger.create(f"job{number}", JobSpec(priority=priority), None)
    ledger.claim(Claim("job0", Stage.EMBED, "one"))
    ledger.claim(Claim("job1", Stage.EMBED, "two"))
    ledger.finish(Claim("job1", Stage.EMBED, "two"))
    ledger.cancel("job2")
    found = collect(redis)
    assert {name: queue.waiting for name, queue in found.queues.items()} == {
        "embed.fixed": 0,
        "embed.varied": 1,
        "cluster": 1,
    }
    assert (found.working, found.unfinished) == (1, 3)
    assert 0 < found.queues["embed.varied"].oldest_s < 60


def test_what_a_killed_device_process_said_last_is_passed_over(redis: Redis) -> None:
    now = redis.time()[0]
    alive = {"device": "cuda:0=auto", "searches": 3, "time": now}
    redis.hset(DEVICES, mapping={"gpu0@here": json.dumps(alive), "gpu1@here": json.dumps(alive | {"time": now - 60})})
    found = collect(redis)
    assert found.devices == {"gpu0@here": alive}
    assert 'maskq_device_searches{node="gpu0@here"} 3.0\n' in exposition(found)


def test_metrics_keep_every_digit(redis: Redis) -> None:
    now = redis.time()[0]
    said = {"images": 123_456_789_012, "batches": 1_000_001, "device_s": 7_654_321.987, "mean_batch": 0.1 + 0.2}
    redis.hset(DEVICES, "gpu0@here", json.dumps(said | {"device": "cuda:0", "time": now}))
    found = collect(redis)
    read = {
        sample.name: sample.value
        for family in text_string_to_metric_families(exposition(found))
        for sample in family.samples
    }
    assert {name: read.get(f"maskq_device_{name}_total", read.get(f"maskq_device_{name}")) for name in said} == said
    assert read["maskq_redis_bytes"] == found.redis_bytes > 1_000_000


def test_metrics_are_in_the_format_that_prometheus_reads(redis: Redis, ledger: Ledger) -> None:
    ledger.create("job", JobSpec(), None)
    said = exposition(collect(redis))
    assert 'maskq_jobs_waiting{queue="embed.varied"} 1.0\n' in said
    assert "maskq_jobs_unfinished 1.0\n" in said
    for line in said.splitlines():
        assert line.startswith("# ") or len(line.rsplit(" ", 1)) == 2
