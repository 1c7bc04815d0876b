"""The process of one device: a Celery worker with a thread pool that embeds images.

The supervisor runs `python -m maskq.workers.device.process cpu=off`, with an environment that hides all other devices
(CUDA_VISIBLE_DEVICES has to be set before torch is imported).
"""

from __future__ import annotations

import sys
from collections.abc import Callable

from celery import Celery
from celery.signals import task_postrun, task_prerun, worker_ready
from redis import Redis

from maskq.producer.schema import Stage
from maskq.producer.settings import Settings
from maskq.producer.state.connections import Connections
from maskq.producer.state.routing import LANES, queue_of
from maskq.segmentation.images import ImageLimits
from maskq.tasks import trace
from maskq.tasks.celery_app import add_stage, create_app
from maskq.tasks.embed import Embed
from maskq.tasks.job_ends.dispatcher import Dispatcher
from maskq.tasks.reconciler import Reconciler
from maskq.tasks.runner import StageRunner

from ..celery_worker.start import hostname, start
from ..supervision.heartbeat import Heartbeat
from .device import Device
from .flower_pool import device_pool
from .lane_failover import LaneFailover, WorkerConsumer
from .metrics import Entries, Publisher
from .spec import DeviceSpec


def main(argument: str) -> None:
    """Serve the device that `argument` specifies, until SIGTERM."""
    settings, spec = Settings(), DeviceSpec.from_string(argument)
    heartbeat = Heartbeat(settings.grace_s)
    if settings.trace:
        trace.begin(settings.trace, spec.node)
    spec.accelerator.check()  # an unusable GPU ends the process here; later it would only fail job after job
    connections = Connections.open(settings)
    device = Device(spec, settings)
    app = create_app(settings)
    limits = ImageLimits(settings.max_bytes, settings.max_pixels)
    runner = StageRunner(
        Stage.EMBED,
        connections.ledger,
        Embed(device, limits),
        worker=hostname(spec.node),
        retry_s=settings.retry_s,
    )
    add_stage(app, Stage.EMBED, runner)
    Reconciler(connections.redis, connections.ledger, settings.resend_s).start()
    Dispatcher(connections.redis, connections.ledger).start()
    task_prerun.connect(lambda **_: device.counters.job_started(), weak=False)
    task_postrun.connect(lambda **_: device.counters.job_ended(), weak=False)
    _serve(app, settings, spec, device, heartbeat, connections.redis, runner.return_all_to_queue)


def _serve(
    app: Celery,
    settings: Settings,
    spec: DeviceSpec,
    device: Device,
    heartbeat: Heartbeat,
    redis: Redis,
    return_jobs: Callable[[], None],
) -> None:
    """Run the Celery worker, and while it is ready the heartbeat, the lane failover and the counters' publisher."""
    name, lanes = hostname(spec.node), LANES if spec.lanes == "both" else (spec.lanes,)
    failover = LaneFailover(redis, name, lanes, WorkerConsumer(app, name), settings.lane_s)

    def entries() -> Entries:
        return {**device.entries(), "lanes": " ".join(failover.served)}

    publisher = Publisher(redis, name, entries)

    def ready(**_: object) -> None:
        heartbeat.ready(device.health)
        publisher.start()
        failover.start()

    worker_ready.connect(ready, weak=False)
    try:
        start(
            app,
            settings,
            node=spec.node,
            pool=device_pool(entries),
            concurrency=device.threads,
            queues=[queue_of(Stage.EMBED, lane) for lane in lanes],
            return_jobs=return_jobs,
        )
    finally:
        failover.stop()
        publisher.stop()


if __name__ == "__main__":
    main(sys.argv[1])
