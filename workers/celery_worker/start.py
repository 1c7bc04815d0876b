"""Starts a Celery worker with maskq's consumer, logging and shutdown."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from typing import Any

from celery import Celery

from maskq.producer.settings import Settings

from .reconnect import ReconnectingConsumer
from .shutdown import limit_shutdown, signal_return_jobs


def hostname(node: str) -> str:
    """The worker's full Celery name, such as `gpu0@host`."""
    return f"{node}@{socket.gethostname()}"


def start(
    app: Celery,
    settings: Settings,
    *,
    node: str,
    pool: str | type[Any],
    concurrency: int,
    queues: Sequence[str],
    return_jobs: Callable[[], None],
) -> None:
    """Run a Celery worker in this process until SIGTERM and the graceful shutdown after it; raises `SystemExit`.

    `pool` is a Celery pool: its name or its class. `return_jobs` returns this process's unfinished jobs to the queue;
    forked processes do that themselves. Gossip and mingle are off: maskq's workers need not know each other, and start
    a second faster.
    """
    app.conf.worker_log_format = f"[%(asctime)s %(levelname)s {node}] %(message)s"
    app.conf.worker_task_log_format = f"[%(asctime)s %(levelname)s {node} %(task_name)s] %(message)s"
    app.conf.worker_consumer = ReconnectingConsumer
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

    def return_all_jobs() -> None:
        signal_return_jobs(worker.pool.info.get("processes", []))
        return_jobs()

    limit_shutdown(settings.grace_s, return_all_jobs)
    worker.start()
    raise SystemExit(worker.exitcode)
