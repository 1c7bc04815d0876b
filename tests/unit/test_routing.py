"""The messages and events in Redis that producers and workers agree on."""

from __future__ import annotations

import base64
import json
import uuid
from typing import Any

import pytest
from celery import Celery
from kombu.entity import Queue
from redis import Redis

from maskq.producer.schema import JobSpec, Stage
from maskq.producer.state.celery_config import celery_settings
from maskq.producer.state.keys import EVENTS, LANES_APART
from maskq.producer.state.ledger import Claim, Ledger
from maskq.producer.state.routing import (
    CLUSTER_QUEUE,
    EMBED_QUEUES,
    FIXED,
    VARIED,
    broker_priority,
    message_lists,
    queue_length,
)
from tests.conftest import until


@pytest.fixture
def ledger(redis: Redis) -> Ledger:
    redis.lpush("maskq:shapes", *["8x9"] * 64)  # 8×9 is the common shape
    redis.set(LANES_APART, "gpu")
    return Ledger(redis, retention_s=100, max_queued=100, lease_s=10, max_attempts=3)


def create(ledger: Ledger, name: str = "cells.png", priority: int = 5, lane: str = VARIED) -> str:
    """Enter a job; returns its id."""
    job_id = uuid.uuid4().hex
    ledger.create(job_id, JobSpec(name=name, priority=priority), "8x9" if lane == FIXED else None)
    return job_id


def test_nine_goes_first_for_us_and_nought_on_redis() -> None:
    assert [broker_priority(ours) for ours in range(10)] == [9, 8, 7, 6, 5, 4, 3, 2, 1, 0]


def test_a_job_waits_in_its_lane_and_then_in_the_one_queue_of_the_cpu_workers(ledger: Ledger, redis: Redis) -> None:
    for lane in (FIXED, VARIED):
        job_id = create(ledger, lane=lane)
        assert [queue for queue in EMBED_QUEUES if queue_length(redis, queue)] == [f"embed.{lane}"]
        ledger.claim(Claim(job_id, Stage.EMBED, "one"))
        redis.delete(*message_lists())
        ledger.finish(Claim(job_id, Stage.EMBED, "one"))
        assert queue_length(redis, CLUSTER_QUEUE) == 1
    assert (EMBED_QUEUES, CLUSTER_QUEUE) == (("embed.fixed", "embed.varied"), "cluster")


def test_only_json_travels_and_a_worker_takes_no_more_than_it_can_begin() -> None:
    conf = celery_settings()
    assert conf["accept_content"] == ["json"]
    assert conf["task_serializer"] == conf["result_serializer"] == "json"
    assert conf["task_acks_late"] is True
    assert conf["worker_prefetch_multiplier"] == 1


def test_a_fetched_message_is_in_no_list_and_returns_when_the_worker_stops(
    ledger: Ledger, redis: Redis, redis_url: str
) -> None:
    create(ledger)
    app = Celery(broker=redis_url, set_as_current=False)
    app.conf.update(celery_settings())
    taken: list[Any] = []
    queue = Queue("embed.varied")  # type: ignore[no-untyped-call]
    with app.connection_for_read() as connection, connection.Consumer([queue]) as consumer:
        consumer.register_callback(lambda _, message: taken.append(message))
        while not taken:
            connection.drain_events(timeout=20)
        assert queue_length(redis, "embed.varied") == 0
        assert not redis.exists("unacked", "unacked_index")
    assert queue_length(redis, "embed.varied") == 1


def test_a_message_is_json_holds_only_the_id_and_reads_well_in_flower(ledger: Ledger, redis: Redis) -> None:
    job_id = create(ledger, 'my "cells" é.png')
    (message,) = map(json.loads, redis.lrange("embed.varied\x06\x164", 0, -1))
    assert message["content-type"] == "application/json"
    assert message["headers"]["task"] == "tasks.embed"
    assert message["headers"]["id"] == f"{job_id}-embed-1"
    assert message["headers"]["argsrepr"] == f'({job_id[:8]}, nuclei, my "cells" é.png)'
    assert len(json.dumps(message)) < 2000


def test_a_message_and_its_event_are_what_celery_itself_would_send(
    ledger: Ledger, redis: Redis, redis_url: str
) -> None:
    with redis.pubsub(ignore_subscribe_messages=True) as events:  # type: ignore[no-untyped-call]
        events.subscribe(EVENTS.format(redis.connection_pool.connection_kwargs.get("db", 0)))
        job_id = create(ledger)
        app = Celery(broker=redis_url, set_as_current=False)
        app.conf.update(celery_settings(), task_send_sent_event=True)
        app.send_task("tasks.embed", args=[job_id], argsrepr="x", kwargsrepr="{}", queue="embed.varied", priority=4)
        sent = [until(lambda: events.get_message(timeout=1)) for _ in range(2)]
    theirs, ours = map(json.loads, redis.lrange("embed.varied\x06\x164", 0, -1))
    assert body(ours) == body(theirs)
    assert set(theirs["headers"]) - set(ours["headers"]) <= {
        "group_index", "ignore_result", "replaced_task_nesting", "stamped_headers", "stamps",
    }  # fmt: skip
    same = ("task", "lang", "eta", "expires", "retries", "timelimit", "parent_id", "group", "shadow", "kwargsrepr")
    assert {key: ours["headers"][key] for key in same} == {key: theirs["headers"][key] for key in same}
    for key in ("delivery_info", "delivery_mode", "priority"):
        assert ours["properties"][key] == theirs["properties"][key]
    our_event, their_event = (json.loads(message["data"]) for message in sent)
    assert our_event["properties"]["delivery_info"] == their_event["properties"]["delivery_info"]
    assert set(body(our_event)) == set(body(their_event)) - {"parent_id", "eta", "expires"}
    for key in ("type", "name", "queue", "exchange", "routing_key", "kwargs", "retries"):
        assert body(our_event)[key] == body(their_event)[key]


def test_without_task_events_a_job_is_sent_without_an_event(redis: Redis) -> None:
    with redis.pubsub(ignore_subscribe_messages=True) as events:  # type: ignore[no-untyped-call]
        events.subscribe(EVENTS.format(redis.connection_pool.connection_kwargs.get("db", 0)))
        unwatched, watched = (create(Ledger(redis, task_events=on)) for on in (False, True))
        event = until(lambda: events.get_message(timeout=1))
    assert body(json.loads(event["data"]))["uuid"] == f"{watched}-embed-1"
    assert [body(json.loads(sent))[0] for sent in redis.lrange("embed.varied\x06\x164", 0, -1)] == [
        [watched],
        [unwatched],
    ]


def body(message: dict[str, Any]) -> Any:
    """The decoded body of a message."""
    encoded = message["properties"].get("body_encoding") == "base64"
    return json.loads(base64.b64decode(message["body"]) if encoded else message["body"])


def test_messages_are_served_by_priority_and_then_by_age(ledger: Ledger, redis_url: str) -> None:
    for number, priority in enumerate((0, 9, 5, 9)):
        create(ledger, str(number), priority=priority, lane=(FIXED, VARIED)[number % 2])
    assert served(redis_url, 4) == ["1", "3", "2", "0"]


def test_a_busy_lane_does_not_starve_the_other(ledger: Ledger, redis_url: str) -> None:
    for name, lane in (("a", FIXED), ("b", FIXED), ("c", FIXED), ("d", FIXED), ("x", VARIED), ("y", VARIED)):
        create(ledger, name, lane=lane)
    order = served(redis_url, 6)
    assert order.index("x") < order.index("c")
    assert order.index("y") < order.index("d")


def served(redis_url: str, count: int) -> list[str]:
    """The names of the jobs in the order in which a worker receives them."""
    summaries: list[str] = []

    def take(_: Any, message: Any) -> None:
        summaries.append(message.headers["argsrepr"])
        message.ack()

    app = Celery(broker=redis_url, set_as_current=False)
    app.conf.update(celery_settings())
    queues = [Queue(queue) for queue in EMBED_QUEUES]  # type: ignore[no-untyped-call]
    with app.connection_for_read() as connection, connection.Consumer(queues, accept=["json"]) as consumer:
        consumer.qos(prefetch_count=1)
        consumer.register_callback(take)
        while len(summaries) < count:
            connection.drain_events(timeout=20)
    return [summary.strip("()").rpartition(", ")[2] for summary in summaries]


def test_queues_are_counted_over_all_priorities(ledger: Ledger, redis: Redis) -> None:
    for priority in (0, 5, 9, 9):
        create(ledger, priority=priority, lane=FIXED)
    embedded = create(ledger)
    ledger.claim(Claim(embedded, Stage.EMBED, "one"))
    ledger.finish(Claim(embedded, Stage.EMBED, "one"))
    assert {queue: queue_length(redis, queue) for queue in (*EMBED_QUEUES, CLUSTER_QUEUE)} == {
        "embed.fixed": 4,
        "embed.varied": 1,  # the claimed job's message, which no worker fetched
        "cluster": 1,
    }
