"""The broker: how every Celery app that shares it is configured, and how a job's message is sent.

Everything here that both sides must agree on stands here once: queue names, serializer, priorities, visibility.
"""

from __future__ import annotations

import logging
from functools import cached_property
from typing import TYPE_CHECKING, Any

from .contract import JobStatus, Stage
from .lanes import LANES

if TYPE_CHECKING:
    from celery import Celery
    from redis import Redis

log = logging.getLogger(__name__)

CLUSTER_QUEUE = "cluster"
EMBED_QUEUES = tuple(f"embed.{lane}" for lane in LANES)
TASKS = {Stage.EMBED: "tasks.embed", Stage.CLUSTER: "tasks.cluster"}
_PRIORITIES = 10


def celery_settings(visibility_timeout_s: int) -> dict[str, Any]:
    """Celery's configuration, the same for producers, workers and Flower.

    The visibility timeout has to stand in three places, and the shortest of the apps on a broker wins.
    """
    visibility = {"visibility_timeout": visibility_timeout_s}
    return {
        "accept_content": ["json"],
        "task_serializer": "json",
        "result_serializer": "json",
        "task_ignore_result": True,
        "task_acks_late": True,
        "worker_prefetch_multiplier": 1,
        # Of two lanes that have work of one priority, a worker takes in turn: else the first would starve the second.
        "broker_transport_options": visibility
        | {"priority_steps": list(range(_PRIORITIES)), "queue_order_strategy": "round_robin"},
        "result_backend_transport_options": visibility,
        "visibility_timeout": visibility_timeout_s,
        "task_send_sent_event": True,
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


def queue_length(redis: Redis, queue: str) -> int:
    """Messages that wait in a queue, of all priorities."""
    names = [queue] + [f"{queue}\x06\x16{step}" for step in range(1, _PRIORITIES)]
    pipe = redis.pipeline(transaction=False)
    for name in names:
        pipe.llen(name)
    return sum(pipe.execute())


class Sender:
    """Sends the messages that wake workers. A message carries the job's id; what Flower shows of it is readable."""

    def __init__(self, broker_url: str, visibility_timeout_s: int) -> None:
        self._url, self._visibility_timeout_s = broker_url, visibility_timeout_s

    @cached_property
    def _app(self) -> Celery:
        from celery import Celery  # late: importing it costs more than all of the producer

        app = Celery("maskq", broker=self._url, set_as_current=False)
        app.conf.update(celery_settings(self._visibility_timeout_s))
        return app

    def send(self, stage: Stage, job: JobStatus) -> None:
        """Wake a worker for the job's stage. Where the broker is away, the reconciler does that when it is back."""
        from kombu.exceptions import OperationalError

        try:
            self._app.send_task(
                TASKS[stage],
                args=[job.id],
                argsrepr=f"({job.id[:8]}, {job.spec.model}, {job.spec.name})",
                kwargsrepr="{}",
                queue=queue_of(stage, job.lane),
                priority=broker_priority(job.spec.priority),
            )
        except OperationalError as error:
            log.warning("job %s: its message could not be sent now: %s", job.id, error)

    def close(self) -> None:
        """Let go of the connections."""
        if "_app" in self.__dict__:
            self._app.close()
