"""The process of one device: a Celery worker on threads, and the thread that owns the device.

Run as `python -m maskq.workers.device.process cpu=off` by the supervisor, which sets CUDA_VISIBLE_DEVICES before torch
is imported.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from math import prod
from queue import PriorityQueue
from typing import TypeAlias

import torch
from celery import Celery
from celery.signals import task_postrun, task_prerun, worker_ready
from redis import Redis

from maskq.producer.schema import Stage
from maskq.producer.settings import Settings
from maskq.producer.state.connections import Connections
from maskq.producer.state.routing import LANES, queue_of
from maskq.segmentation.arrays import Pixels
from maskq.segmentation.images import ImageLimits
from maskq.segmentation.models.registry import ModelRegistry
from maskq.segmentation.models.spec import ModelSpec
from maskq.segmentation.network.inference import Input
from maskq.segmentation.network.shape_buckets import aligned_shape, bucket_shape
from maskq.segmentation.network.tiling import Bounds
from maskq.segmentation.rescaling import factor, resized
from maskq.segmentation.segmenter import Segmenter
from maskq.tasks import leases, trace
from maskq.tasks.celery_app import add_stage, create_app
from maskq.tasks.embed import Embed
from maskq.tasks.reconciler import Reconciler
from maskq.tasks.runner import Delivery

from ..celery_worker.start import hostname, start
from ..supervision.heartbeat import LOST, Heartbeat
from .batching import BatchKey, BatchLimits
from .cudnn_benchmark import CudnnBenchmark
from .executor import BatchExecutor, InlineExecutor
from .flower_pool import showing
from .hardware import cores
from .lane_failover import LaneFailover, WorkerConsumer
from .metrics import Counters, Entries, Publisher
from .model_cache import ModelCache
from .runners import Answer, CpuRunner, GpuRunner
from .spec import DeviceSpec

Owner: TypeAlias = BatchExecutor[Segmenter, Input, Answer]


class Device:
    """Runs models on this process's device. Threads share it; models are loaded at their first use.

    A GPU has one owner, which batches inputs padded to a ladder of shapes. On a CPU each image runs at its own shape,
    and as many at once as there are cores: two side by side, on one thread each, take less than one after the other
    on two threads (43 ms an image against 50 at 256², and 79 where the threads sleep while they wait). They run in the
    threads that decoded them; where each can have several cores, owners run them. An image that is alone gets them all.
    """

    def __init__(self, spec: DeviceSpec, settings: Settings) -> None:
        self._spec, self._settings = spec, settings
        self._where = "cuda:0" if spec.index else "cpu"  # CUDA_VISIBLE_DEVICES leaves just one
        self._cores = settings.torch_threads or cores()
        self._batch = spec.batch or settings.batch_size
        self.counters, self._benchmark = Counters(), CudnnBenchmark(spec.benchmark)
        self._models = ModelCache(
            ModelRegistry(settings.model_folders), self._where, settings.model_memory, spec.precision
        )
        self._bounds = Bounds(settings.tile_pixels, settings.max_pixels)
        #: Images that are run in tiles take turns: their memory is that of one, and side by side none were faster.
        self._one_large = threading.Lock()
        self._owners = [self._gpu_owner()] if spec.index else [self._cpu_owner(n) for n in range(self._cores)]
        self._in_place = InlineExecutor(CpuRunner(self.counters, lambda: 1), on_death=_end_process)
        #: Whoever takes a turn may run one input, or hand it to the turn's owner. The first owner that is free goes
        #: first, so an image that is alone always has the same: were there a second team of threads for all cores, both
        #: would sleep while they wait for one another (133 ms an image at 256² against 90).
        self._turns: PriorityQueue[tuple[int, Owner]] = PriorityQueue()
        for turn in enumerate(self._owners * (self.threads if spec.index else 1)):
            self._turns.put(turn)
        #: What is noted of each thread that has come by.
        self._met = threading.local()

    @property
    def threads(self) -> int:
        """Jobs that the process has in hand at once: of a GPU's, two batches are on it, two are decoded or stored."""
        most = 4 * self._batch if self._spec.index else max(4, self._cores + 2)
        return self._settings.device_threads or most

    def entries(self) -> Entries:
        """What the device is and what it has done."""
        return {"device": str(self._spec), **self.counters.entries(), **self._benchmark.counters()}

    def trouble(self) -> str | None:
        """Why nothing is to be expected of this process any more, where that is so."""
        limit_s = self._settings.device_limit_s
        found = (self._in_place.trouble(limit_s), *(owner.trouble(limit_s) for owner in self._owners))
        return next(filter(None, found), None)

    def fields(
        self, name: str, pixels: Pixels, *, tta: bool = False, diameter: float | None = None
    ) -> tuple[ModelSpec, bytes]:
        """What the model is that `NAME` or `NAME@VERSION` means now, and the packed fields of (H, W, C) pixels by it.

        The options and errors are those of `Segmenter.fields`, and those of looking the model up.
        """
        self._stay_one_thread()
        segmenter = self._models.get(name)
        with self._one_large if self._large(segmenter.spec, pixels, diameter) else nullcontext():
            return segmenter.spec, segmenter.fields(
                pixels, tta=tta, diameter=diameter, bounds=self._bounds, run=partial(self._run, segmenter)
            )

    def _stay_one_thread(self) -> None:
        """The first time that a thread comes by: only owners have teams of threads (why: see `_turns`)."""
        if self._where == "cpu" and not hasattr(self._met, "thread"):
            torch.set_num_threads(1)  # of this thread; owners set their own before each image
            self._met.thread = True

    def _large(self, spec: ModelSpec, pixels: Pixels, diameter: float | None) -> bool:
        """Whether an image takes the memory of one in tiles: as it is, or resized for its diameter."""
        shape = pixels.shape[0], pixels.shape[1]
        seen = resized(shape, factor(spec, diameter), self._bounds.max_pixels)
        return any(prod(aligned_shape(*size)) > self._bounds.tile_pixels for size in (shape, seen))

    def _run(self, segmenter: Segmenter, given: Input) -> Answer:
        """What the network says of one input: here, or by whichever owner is free."""
        height, width = given.planes.shape[1:]
        ladder = bucket_shape if self._spec.index and segmenter.supports_padding else aligned_shape
        kind = BatchKey(segmenter, segmenter.spec.ref, ladder(height, width))
        leases.check()
        with trace.span("wait"):
            turn = self._turns.get()
        try:
            if not self._spec.index and self._share() == 1:
                return self._in_place.run(kind, given)
            with trace.span("wait"):
                return turn[1].run(kind, given)
        finally:
            self._turns.put(turn)

    def _cpu_owner(self, number: int) -> Owner:
        most = self._cores if number == 0 else max(1, self._cores // 2)
        return self._owner(CpuRunner(self.counters, lambda: min(most, self._share())), BatchLimits())

    def _gpu_owner(self) -> Owner:
        wait_s = self._settings.batch_wait_ms / 1000
        limits = BatchLimits(self._batch, self._settings.tile_pixels, wait_s, powers=True)
        return self._owner(GpuRunner(self.counters, self._benchmark), limits)

    def _owner(self, runner: CpuRunner | GpuRunner, limits: BatchLimits) -> Owner:
        return BatchExecutor(
            runner,
            limits,
            in_hand=self.counters.in_hand,
            on_death=_end_process,
            on_halving=self.counters.halved,
        )

    def _share(self) -> int:
        """The cores, divided among the jobs in hand: what is decoded or stored now runs soon, or has just run."""
        running = self._cores - self._turns.qsize()
        return max(1, self._cores // max(1, running, self.counters.in_hand()))


def _end_process() -> None:
    """The device is lost: let the jobs in hand be given back, then end; the supervisor starts anew."""

    def end() -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        threading.Event().wait(5)
        os._exit(LOST)

    threading.Thread(target=end, daemon=True).start()


def main(argument: str) -> None:
    """Serve one device until told to stop."""
    settings, spec = Settings(), DeviceSpec.read(argument)
    link = Heartbeat(settings.grace_s)
    if settings.trace:
        trace.begin(settings.trace, spec.node)
    if spec.index:  # a GPU that can't be used ends the process here; later it would only fail job after job
        torch.zeros(1, device="cuda:0")
    to = Connections.open(settings)
    device = Device(spec, settings)
    app = create_app(settings)
    limits = ImageLimits(settings.max_bytes, settings.max_pixels)
    delivery = Delivery(
        Stage.EMBED,
        to.ledger,
        to.store,
        Embed(device, limits),
        worker=hostname(spec.node),
        retry_s=settings.retry_s,
    )
    add_stage(app, Stage.EMBED, delivery)
    Reconciler(to.redis, to.ledger, to.store, settings.resend_s).start()
    task_prerun.connect(lambda **_: device.counters.taken(), weak=False)
    task_postrun.connect(lambda **_: device.counters.left(), weak=False)
    _serve(app, settings, spec, device, link, to.redis, delivery.hand_back)


def _serve(
    app: Celery,
    settings: Settings,
    spec: DeviceSpec,
    device: Device,
    link: Heartbeat,
    redis: Redis,
    hand_back: Callable[[], None],
) -> None:
    """Run the worker, and beside it what tells of it: its beats, its lanes, its counters."""
    name, own = hostname(spec.node), LANES if spec.lanes == "both" else (spec.lanes,)
    lanes = LaneFailover(redis, name, own, WorkerConsumer(app, name), settings.lane_s)

    def entries() -> Entries:
        return {**device.entries(), "lanes": " ".join(lanes.served)}

    publisher = Publisher(redis, name, entries)

    def ready(**_: object) -> None:
        link.ready(device.trouble)
        publisher.start()
        lanes.start()

    worker_ready.connect(ready, weak=False)
    queues = [queue_of(Stage.EMBED, lane) for lane in own]
    try:
        start(
            app,
            settings,
            node=spec.node,
            pool=showing(entries),
            concurrency=device.threads,
            queues=queues,
            hand_back=hand_back,
        )
    finally:
        lanes.stop()
        publisher.stop()


if __name__ == "__main__":
    main(sys.argv[1])
