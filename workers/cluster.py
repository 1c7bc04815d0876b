"""The CPU worker: a Celery worker with forked processes; numba's kernels are compiled before the fork.

Run as `python -m maskq.workers.cluster`.
"""

import numpy as np
from celery.signals import worker_process_init, worker_ready

from maskq.producer.schema import Stage
from maskq.producer.settings import Settings
from maskq.producer.state.connections import Connections
from maskq.producer.state.keys import CLUSTER_WORKERS
from maskq.producer.state.routing import CLUSTER_QUEUE
from maskq.segmentation.clustering.cluster import warm_up
from maskq.segmentation.objects import describe
from maskq.tasks.cluster import Cluster

from .celery_worker.node_name import unique_node
from .celery_worker.publisher import Publisher
from .celery_worker.shutdown import return_jobs_on_signal
from .celery_worker.stage_worker import StageWorker, hostname
from .supervision.heartbeat import Heartbeat, set_parent_death_signal


def main() -> None:
    """Serve the cluster queue until SIGTERM."""
    settings = Settings()
    heartbeat = Heartbeat(settings.grace_s)
    time_limit = settings.stage_limit_s
    work = Cluster(Connections.open(settings).ledger)
    node = unique_node("cluster", settings.broker_url)
    worker = StageWorker(settings, Stage.CLUSTER, work, node=node, kill=True, time_limit=time_limit)
    compile_kernels()

    def initialize_fork(**_: object) -> None:
        set_parent_death_signal()
        return_jobs_on_signal(worker.runner.return_all_to_queue)

    worker_process_init.connect(initialize_fork, weak=False)
    processes = settings.cluster_processes
    publisher = Publisher(worker.redis, CLUSTER_WORKERS, hostname(node), lambda: {"processes": processes})

    def ready(**_: object) -> None:
        heartbeat.ready()
        publisher.start()

    worker_ready.connect(ready, weak=False)
    try:
        worker.run(node=node, pool="prefork", concurrency=processes, queues=(CLUSTER_QUEUE,))
    finally:
        publisher.stop()


def compile_kernels() -> None:
    """Compile every kernel that a job uses, or load it from numba's cache; before the fork, so that forks share it."""
    warm_up()
    describe(np.ones((1, 1), np.int32), [1.0])


if __name__ == "__main__":
    main()
