"""The broker: how every Celery app that shares it is configured, and where messages lie.

Everything that both sides must agree on stands here once: queue names, serializer, priorities. The messages themselves
are made by the ledger's `queues.lua`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from .contract import Stage
from .lanes import LANES

if TYPE_CHECKING:
    from redis import Redis

#: What Redis is asked, word by word.
Command: TypeAlias = "tuple[str | bytes | int, ...]"

#: Every key that maskq writes begins with this (kombu's own queues are named for themselves).
PREFIX = "maskq:"
#: A hash: of each device process, by its node's name, the JSON of its counters and of the `time` (Redis's, seconds) at
#: which they were that. What is older than `STALE_S` was left by a process that was killed.
DEVICES = f"{PREFIX}devices"
STALE_S = 10.0
#: The channel on which kombu publishes Celery's `task-sent` events, for a Redis database.
EVENTS = "/{}.celeryev/task.sent"
CLUSTER_QUEUE = "cluster"
EMBED_QUEUES = tuple(f"embed.{lane}" for lane in LANES)
TASKS = {Stage.EMBED: "tasks.embed", Stage.CLUSTER: "tasks.cluster"}
_PRIORITIES = 10


def celery_settings() -> dict[str, Any]:
    """Celery's configuration, the same for producers, workers and Flower.

    Messages are acknowledged to no one: kombu would note each in Redis, to send it again after a visibility timeout,
    of which the shortest among all apps wins and which a long task outlasts. The ledger knows better and sooner what
    has to be sent again, so that is off; what a worker has taken and not begun it puts back when it is stopped.
    """
    return {
        "accept_content": ["json"],
        "task_serializer": "json",
        "result_serializer": "json",
        "task_ignore_result": True,
        "task_acks_late": True,
        "worker_prefetch_multiplier": 1,
        "broker_transport_options": {
            "ack_emulation": False,
            # A connection that went silent is given up after so many seconds: what lies on the queue waits for that.
            "health_check_interval": 5,
            "priority_steps": list(range(_PRIORITIES)),
            # Of two lanes that have work of one priority, a worker takes in turn: else the first starved the second.
            "queue_order_strategy": "round_robin",
        },
        "worker_send_task_events": True,
        "broker_connection_retry_on_startup": True,
        "task_create_missing_queues": True,
    }


def broker_priority(priority: int) -> int:
    """Translate: 9 goes first for maskq, 0 on Redis."""
    return _PRIORITIES - 1 - priority


def queue_of(stage: Stage, lane: str) -> str:
    """The queue in which a job waits for a stage."""
    return f"embed.{lane}" if stage is Stage.EMBED else CLUSTER_QUEUE


def message_lists(*queues: str) -> list[str]:
    """The lists in which kombu keeps the messages of these queues, or of all: one a priority, what goes first first."""
    steps = ["", *(f"\x06\x16{step}" for step in range(1, _PRIORITIES))]
    return [queue + step for queue in queues or (*EMBED_QUEUES, CLUSTER_QUEUE) for step in steps]


def queue_length(redis: Redis, queue: str) -> int:
    """Messages that lie in a queue, of all priorities."""
    pipe = redis.pipeline(transaction=False)
    for name in message_lists(queue):
        pipe.llen(name)
    return sum(pipe.execute())
