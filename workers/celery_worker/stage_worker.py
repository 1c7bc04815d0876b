"""A Celery worker that runs one stage, with maskq's consumer, logging, background threads and shutdown."""

import logging
import socket
from collections.abc import Sequence
from typing import Any

from celery.signals import after_setup_logger, after_setup_task_logger, worker_process_shutdown, worker_ready

from maskq.producer.printable import make_printable
from maskq.producer.schema import Stage
from maskq.producer.settings import Settings
from maskq.producer.state.connections import Connections
from maskq.tasks import trace
from maskq.tasks.celery_app import add_stage, create_app
from maskq.tasks.job_ends.dispatcher import Dispatcher
from maskq.tasks.reconciler import Reconciler
from maskq.tasks.runner import StageRunner, Work

from . import broker_log
from .consumer import ReconnectingConsumer
from .shutdown import limit_shutdown, signal_return_jobs


def _keep_printable(*, logger: logging.Logger, **_: Any) -> None:
    """Messages quote the names of jobs and what is in image files."""
    make_printable(logger)


for _signal in after_setup_logger, after_setup_task_logger:
    _signal.connect(_keep_printable)


def hostname(node: str) -> str:
    """The worker's full Celery name, such as `gpu0@host`."""
    return f"{node}@{socket.gethostname()}"


class StageWorker:
    """The Celery worker of this process, with a reconciler and a dispatcher of job ends in threads."""

    def __init__(
        self, settings: Settings, stage: Stage, work: Work, *, node: str, kill: bool = False, **task_options: Any
    ) -> None:
        """`node` names the worker in a job's history and the trace; `kill` is that of `StageRunner`."""
        broker_log.install()
        if settings.trace:
            trace.begin(settings.trace, node)
        self._settings = settings
        connections = Connections.open(settings)
        self.redis, self._ledger, self._store = connections.redis, connections.ledger, connections.store
        self.runner = StageRunner(stage, self._ledger, work, worker=hostname(node), retry_s=settings.retry_s, kill=kill)
        self.app = create_app(settings)
        add_stage(self.app, stage, self.runner, **task_options)

    def run(self, *, node: str, pool: str | type[Any], concurrency: int, queues: Sequence[str]) -> None:
        """Serve the queues until SIGTERM and the graceful shutdown after it; raises `SystemExit`.

        `pool` is a Celery pool: its name or its class. Gossip and mingle are off: maskq's workers need not know each
        other, and start a second faster.
        """
        conf, settings = self.app.conf, self._settings
        conf.worker_log_format = f"[%(asctime)s %(levelname)s {node}] %(message)s"
        conf.worker_log_color = False  # the only escape codes in the log would be Celery's
        conf.worker_task_log_format = f"[%(asctime)s %(levelname)s {node} %(task_name)s] %(message)s"
        conf.worker_consumer = ReconnectingConsumer
        worker = self.app.Worker(
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
            signal_return_jobs(worker.pool.info.get("processes", []))  # forked processes return their own
            self.runner.return_all_to_queue()
            worker.consumer.announce_returned()

        threads = Reconciler(self.redis, self._ledger, settings.resend_s), Dispatcher(self.redis, self._ledger)

        def start_threads(**_: object) -> None:  # once the pool has forked: a fork copies the locks that a thread holds
            for thread in threads:
                thread.start()

        def flush(**_: object) -> None:
            self._store.flush()

        worker_ready.connect(start_threads, weak=False)
        worker_process_shutdown.connect(flush, weak=False)  # in a forked process
        limit_shutdown(settings.grace_s, return_all_jobs)
        worker.start()
        flush()
        raise SystemExit(worker.exitcode)
