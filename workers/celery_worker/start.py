"""A Celery worker as maskq starts it."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from typing import Any

from celery import Celery

from maskq.producer.settings import Settings

from .shutdown import ask_to_hand_back, leave_within


def hostname(node: str) -> str:
    """The node's full name, such as `gpu0@host`."""
    return f"{node}@{socket.gethostname()}"


def start(
    app: Celery,
    settings: Settings,
    *,
    node: str,
    pool: str | type[Any],
    concurrency: int,
    queues: Sequence[str],
    hand_back: Callable[[], None],
) -> None:
    """Run a worker in this process until SIGTERM; then it finishes what it has in hand, or hands it back.

    `pool` is the name of one of Celery's, or a class; `hand_back` is for the jobs of this process, and its forks are
    asked to do so themselves. Gossip and mingle are off: maskq's workers need not know of each other, and starting is
    a second faster.
    """
    app.conf.worker_log_format = f"[%(asctime)s %(levelname)s {node}] %(message)s"
    app.conf.worker_task_log_format = f"[%(asctime)s %(levelname)s {node} %(task_name)s] %(message)s"
    app.conf.worker_consumer = "maskq.workers.celery_worker.reconnect:ReconnectingConsumer"
    worker = app.Worker(
        hostname=hostname(node),
        pool=pool,
        concurrency=concurrency,
        queues=list(queues),
        loglevel=settings.log_level,
        task_events=settings.task_events,
        without_gossip=True,
        without_mingle=True,
        quiet=True,
    )

    def give_up() -> None:
        ask_to_hand_back(worker.pool.info.get("processes", []))
        hand_back()

    leave_within(settings.grace_s, give_up)
    worker.start()
    raise SystemExit(worker.exitcode)
