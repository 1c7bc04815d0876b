"""What both ends of the broker have to agree on, looked at as it lies in Redis."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from celery import Celery
from kombu import Queue
from redis import Redis

from producer.broker import (
    CLUSTER_QUEUE,
    EMBED_QUEUES,
    Sender,
    broker_priority,
    celery_settings,
    queue_length,
    queue_of,
)
from producer.contract import JobSpec, JobStatus, Stage, State
from producer.lanes import FIXED, VARIED


@pytest.fixture
def sender(redis_url: str) -> Iterator[Sender]:
    made = Sender(redis_url, 77)
    yield made
    made.close()


def job(name: str = "cells.png", priority: int = 5, lane: str = VARIED) -> JobStatus:
    spec = JobSpec(name=name, priority=priority)
    return JobStatus(id="0123456789abcdef", state=State.QUEUED, spec=spec, lane=lane, times={}, attempts={})


def test_nine_goes_first_for_us_and_nought_on_redis() -> None:
    assert [broker_priority(ours) for ours in range(10)] == [9, 8, 7, 6, 5, 4, 3, 2, 1, 0]


def test_a_job_waits_in_its_lane_and_then_in_the_one_queue_of_the_cpu_workers() -> None:
    assert [queue_of(Stage.EMBED, lane) for lane in (FIXED, VARIED)] == ["embed.fixed", "embed.varied"]
    assert {queue_of(Stage.CLUSTER, lane) for lane in (FIXED, VARIED)} == {CLUSTER_QUEUE} == {"cluster"}
    assert EMBED_QUEUES == ("embed.fixed", "embed.varied")


def test_only_json_travels_and_the_visibility_timeout_stands_in_all_three_places() -> None:
    conf = celery_settings(77)
    assert conf["accept_content"] == ["json"]
    assert conf["task_serializer"] == conf["result_serializer"] == "json"
    assert conf["visibility_timeout"] == 77
    assert conf["broker_transport_options"]["visibility_timeout"] == 77
    assert conf["result_backend_transport_options"]["visibility_timeout"] == 77
    assert conf["task_acks_late"] is True
    assert conf["worker_prefetch_multiplier"] == 1


def test_a_message_is_json_holds_only_the_id_and_reads_well_in_flower(sender: Sender, redis: Redis) -> None:
    sender.send(Stage.EMBED, job("my cells.png"))
    (message,) = map(json.loads, redis.lrange("embed.varied\x06\x164", 0, -1))
    assert message["content-type"] == "application/json"
    assert message["headers"]["task"] == "tasks.embed"
    assert message["headers"]["argsrepr"] == "(01234567, nuclei, my cells.png)"
    assert len(json.dumps(message)) < 2000


def test_messages_are_served_by_priority_and_then_by_age(sender: Sender, redis_url: str) -> None:
    for number, priority in enumerate((0, 9, 5, 9)):
        sender.send(Stage.EMBED, job(str(number), priority=priority, lane=(FIXED, VARIED)[number % 2]))
    assert served(redis_url, 4) == ["1", "3", "2", "0"]


def test_a_busy_lane_does_not_starve_the_other(sender: Sender, redis_url: str) -> None:
    for name, lane in (("a", FIXED), ("b", FIXED), ("c", FIXED), ("d", FIXED), ("x", VARIED), ("y", VARIED)):
        sender.send(Stage.EMBED, job(name, lane=lane))
    order = served(redis_url, 6)
    assert order.index("x") < order.index("c")
    assert order.index("y") < order.index("d")


def served(redis_url: str, count: int) -> list[str]:
    """The names of the jobs that a worker is given, one after the other."""
    found: list[str] = []
    app = Celery(broker=redis_url, set_as_current=False)
    app.conf.update(celery_settings(77))
    queues = [Queue(queue) for queue in EMBED_QUEUES]
    with app.connection_for_read() as connection, connection.Consumer(queues, accept=["json"]) as consumer:
        consumer.qos(prefetch_count=1)
        consumer.register_callback(lambda _, message: (found.append(message.headers["argsrepr"]), message.ack()))
        while len(found) < count:
            connection.drain_events(timeout=20)
    return [said.strip("()").rpartition(", ")[2] for said in found]


def test_queues_are_counted_over_all_priorities(sender: Sender, redis: Redis) -> None:
    for priority in (0, 5, 9, 9):
        sender.send(Stage.EMBED, job(priority=priority, lane=FIXED))
    sender.send(Stage.CLUSTER, job())
    assert {queue: queue_length(redis, queue) for queue in (*EMBED_QUEUES, CLUSTER_QUEUE)} == {
        "embed.fixed": 4,
        "embed.varied": 0,
        "cluster": 1,
    }
