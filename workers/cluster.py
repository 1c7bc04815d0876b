"""The CPU worker: a Celery worker with forked processes; numba's kernels are compiled before the fork.

Run as `python -m maskq.workers.cluster`.
"""

from __future__ import annotations

import os

import numpy as np
from celery.signals import worker_process_init, worker_ready

from maskq.producer.schema import Stage
from maskq.producer.settings import Settings
from maskq.producer.state.connections import Connections
from maskq.producer.state.routing import CLUSTER_QUEUE
from maskq.segmentation.clustering.cluster import warm_up
from maskq.segmentation.objects import describe
from maskq.tasks import trace
from maskq.tasks.celery_app import add_stage, create_app
from maskq.tasks.cluster import Cluster
from maskq.tasks.job_ends.dispatcher import Dispatcher
from maskq.tasks.reconciler import Reconciler
from maskq.tasks.runner import StageRunner

from .celery_worker.shutdown import return_jobs_on_signal
from .celery_worker.start import hostname, start
from .supervision.heartbeat import Heartbeat, set_parent_death_signal


def main() -> None:
    """Serve the cluster queue until SIGTERM."""
    settings = Settings()
    heartbeat = Heartbeat(settings.grace_s)
    connections = Connections.open(settings)
    compile_kernels()
    if settings.trace:
        trace.begin(settings.trace, "cluster")
    app = create_app(settings)
    runner = StageRunner(
        Stage.CLUSTER,
        connections.ledger,
        Cluster(),
        worker=hostname("cluster"),
        retry_s=settings.retry_s,
        kill=True,
    )
    add_stage(app, Stage.CLUSTER, runner, time_limit=settings.stage_limit_s)
    Reconciler(connections.redis, connections.ledger, settings.resend_s).start()
    Dispatcher(connections.redis, connections.ledger).start()

    def initialize_fork(**_: object) -> None:
        set_parent_death_signal()
        return_jobs_on_signal(runner.return_all_to_queue)

    worker_process_init.connect(initialize_fork, weak=False)
    worker_ready.connect(lambda **_: heartbeat.ready(), weak=False)
    # Names must be unique: workers in containers differ by host name, two workers on one host by process id.
    start(
        app,
        settings,
        node=f"cluster-{os.getpid()}",
        pool="prefork",
        concurrency=settings.cluster_processes,
        queues=(CLUSTER_QUEUE,),
        return_jobs=runner.return_all_to_queue,
    )


def compile_kernels() -> None:
    """Compile every kernel that a job uses, or load it from numba's cache; before the fork, so that forks share it."""
    warm_up()
    describe(np.ones((1, 1), np.int32), [1.0])


if __name__ == "__main__":
    main()
