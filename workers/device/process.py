"""The process of one device: a Celery worker with a thread pool that embeds images.

The supervisor runs `python -m maskq.workers.device.process cpu=off`, with an environment that hides all other devices
(CUDA_VISIBLE_DEVICES has to be set before torch is imported).
"""

import sys
from collections.abc import Callable
from typing import Any

from celery.concurrency.thread import TaskPool
from celery.signals import task_postrun, task_prerun, worker_ready

from maskq.producer.schema import Stage
from maskq.producer.settings import Settings
from maskq.producer.state.keys import DEVICES
from maskq.producer.state.routing import LANES, queue_of
from maskq.segmentation.images import ImageLimits
from maskq.tasks.embed import Embed

from ..celery_worker.node_name import unique_node
from ..celery_worker.publisher import Entries, Publisher
from ..celery_worker.stage_worker import StageWorker, hostname
from ..supervision.heartbeat import Heartbeat
from .device import Device
from .lane_failover import LaneFailover, WorkerConsumer
from .spec import DeviceSpec


def main(argument: str) -> None:
    """Serve the device that `argument` specifies, until SIGTERM."""
    settings, spec = Settings(), DeviceSpec.from_string(argument)
    heartbeat = Heartbeat(settings.grace_s)
    spec.accelerator.check()  # an unusable GPU ends the process here; later it would only fail job after job
    device = Device(spec, settings)
    embed = Embed(device, ImageLimits(settings.max_bytes, settings.max_pixels), settings.max_planes)
    node = unique_node(spec.node, settings.broker_url)
    worker = StageWorker(settings, Stage.EMBED, embed, node=node)
    task_prerun.connect(lambda **_: device.counters.job_started(), weak=False)
    task_postrun.connect(lambda **_: device.counters.job_ended(), weak=False)
    _serve(worker, settings, node, spec, device, heartbeat)


def _serve(
    worker: StageWorker, settings: Settings, node: str, spec: DeviceSpec, device: Device, heartbeat: Heartbeat
) -> None:
    """Run the worker, and while it is ready the heartbeat, the lane failover and the counters' publisher."""
    name, lanes = hostname(node), LANES if spec.lanes == "both" else (spec.lanes,)
    failover = LaneFailover(worker.redis, name, lanes, WorkerConsumer(worker.app, name), settings.lane_s)

    def entries() -> Entries:
        return {**device.entries(), "lanes": " ".join(failover.served)}

    publisher = Publisher(worker.redis, DEVICES, name, entries)

    def ready(**_: object) -> None:
        heartbeat.ready(device.health)
        publisher.start()
        failover.start()

    worker_ready.connect(ready, weak=False)
    queues = [queue_of(Stage.EMBED, lane) for lane in lanes]
    try:
        worker.run(node=node, pool=_device_pool(entries), concurrency=device.threads, queues=queues)
    finally:
        failover.stop()
        publisher.stop()


def _device_pool(entries: Callable[[], Entries]) -> type[TaskPool]:
    """Return Celery's thread pool with these entries in `inspect stats`, which Flower's Pool tab shows."""

    class DevicePool(TaskPool):  # type: ignore[misc]  # Celery has no types
        def _get_info(self) -> dict[str, Any]:
            return {**super()._get_info(), **entries()}

    return DevicePool


if __name__ == "__main__":
    main(sys.argv[1])
