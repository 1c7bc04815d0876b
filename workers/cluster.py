"""The CPU worker: a Celery worker on forked processes, the kernel compiled before the fork.

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
from maskq.tasks.reconciler import Reconciler
from maskq.tasks.runner import Delivery

from .celery_worker.shutdown import hand_back_when_asked
from .celery_worker.start import hostname, start
from .supervision.heartbeat import Heartbeat, die_with_parent


def main() -> None:
    """Serve the cluster queue until told to stop."""
    settings = Settings()
    link = Heartbeat(settings.grace_s)
    to = Connections.open(settings)
    compile_kernels()
    if settings.trace:
        trace.begin(settings.trace, "cluster")
    app = create_app(settings)
    delivery = Delivery(
        Stage.CLUSTER,
        to.ledger,
        to.store,
        Cluster(),
        worker=hostname("cluster"),
        retry_s=settings.retry_s,
        kill=True,
    )
    add_stage(app, Stage.CLUSTER, delivery, time_limit=settings.stage_limit_s)
    Reconciler(to.redis, to.ledger, to.store, settings.resend_s).start()

    def forked(**_: object) -> None:
        die_with_parent()
        hand_back_when_asked(delivery.hand_back)

    worker_process_init.connect(forked, weak=False)
    worker_ready.connect(lambda **_: link.ready(), weak=False)
    # Another worker on the same host, in a container of its own, has a name of its own by its host's name;
    # two on one host are told apart by their process.
    start(
        app,
        settings,
        node=f"cluster-{os.getpid()}",
        pool="prefork",
        concurrency=settings.cluster_processes,
        queues=(CLUSTER_QUEUE,),
        hand_back=delivery.hand_back,
    )


def compile_kernels() -> None:
    """Compile all that a job runs, or load it from numba's cache: before the fork, or every process would by itself."""
    warm_up()
    describe(np.ones((1, 1), np.int32), [1.0])


if __name__ == "__main__":
    main()
