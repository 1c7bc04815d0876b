"""The process of one device: a Celery worker on threads, and the thread that owns the device.

Run as `python -m workers.device cpu=off` by the supervisor, which sets CUDA_VISIBLE_DEVICES before torch is imported.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from contextlib import nullcontext
from functools import partial
from queue import Queue

import torch
from celery.signals import worker_ready

from producer.broker import EMBED_QUEUES
from producer.connections import Connections
from producer.contract import Stage
from producer.settings import Settings
from segmentation.catalogue.model import ModelSpec
from segmentation.catalogue.repository import Repository
from segmentation.fields import Floats
from segmentation.images import ImageLimits, Pixels
from segmentation.inputs import padded_side
from segmentation.scale import factor, resized
from segmentation.segmenter import Segmenter
from segmentation.tiles import Bounds
from tasks.app import add_stage, create_app
from tasks.delivery import Delivery
from tasks.embed import Embed
from tasks.reconcile import Reconciler

from .devices import DeviceSpec, parse
from .link import Link
from .models import LoadedModels
from .node import start
from .owner import DeviceLost, DeviceOwner


class Device:
    """Runs models on this process's device. Threads share it; models are loaded at their first use.

    A GPU has one owner, which batches. A CPU has one owner a core, each running one image on one thread: two images
    side by side take less time than one after the other on two threads (43 ms an image against 50 at 256², and 79
    where the threads sleep while they wait). An image that is alone gets all the cores.
    """

    def __init__(self, spec: DeviceSpec, settings: Settings) -> None:
        self._where = "cuda:0" if spec.index else "cpu"  # CUDA_VISIBLE_DEVICES leaves just one
        torch.backends.cudnn.benchmark = spec.benchmark
        self._cores = settings.torch_threads or os.cpu_count() or 1
        self._models = LoadedModels(Repository(settings.model_folders), self._where, settings.model_memory)
        self._bounds = Bounds(settings.tile_pixels, settings.max_pixels)
        #: Images that are run in tiles take turns: their memory is that of one, and side by side none were faster.
        self._one_large = threading.Lock()
        #: Whoever takes a turn may hand one input to its owner.
        self._turns: Queue[DeviceOwner[Segmenter]] = Queue()
        owners = [self._owner(settings) for _ in range(1 if spec.index else self._cores)]
        for owner in owners * (settings.device_threads if spec.index else 1):
            self._turns.put(owner)

    def _owner(self, settings: Settings) -> DeviceOwner[Segmenter]:
        if self._where == "cpu":
            return DeviceOwner(self._forward_cpu, batch_size=1, batch_wait_s=0, on_death=_end_process)
        wait_s = settings.batch_wait_ms / 1000
        return DeviceOwner(
            self._forward_gpu,
            batch_size=settings.batch_size,
            batch_wait_s=wait_s,
            batch_pixels=settings.tile_pixels,
            on_death=_end_process,
        )

    def _forward_cpu(self, segmenter: Segmenter, batch: Floats) -> Floats:
        busy = self._cores - self._turns.qsize()
        torch.set_num_threads(max(1, self._cores // max(1, busy)))  # of the calling thread
        return segmenter.forward(batch)

    def _forward_gpu(self, segmenter: Segmenter, batch: Floats) -> Floats:
        try:
            return segmenter.forward(batch)
        except torch.OutOfMemoryError:
            torch.cuda.empty_cache()
            raise
        except RuntimeError as error:
            if "CUDA error" in str(error):  # the context is lost, and with it every later call
                raise DeviceLost(str(error)) from error
            raise

    def fields(
        self, name: str, pixels: Pixels, *, tta: bool = False, diameter: float | None = None
    ) -> tuple[ModelSpec, bytes]:
        """What the model is that `NAME` or `NAME@VERSION` means now, and the packed fields of (H, W, C) pixels by it.

        The options and errors are those of `Segmenter.fields`, and those of looking the model up.
        """
        segmenter = self._models.get(name)
        with self._one_large if self._large(segmenter.spec, pixels, diameter) else nullcontext():
            return segmenter.spec, segmenter.fields(
                pixels, tta=tta, diameter=diameter, bounds=self._bounds, forward=partial(self._run, segmenter)
            )

    def _large(self, spec: ModelSpec, pixels: Pixels, diameter: float | None) -> bool:
        """Whether an image takes the memory of one in tiles: as it is, or resized for its diameter."""
        shape = pixels.shape[0], pixels.shape[1]
        seen = resized(shape, factor(spec, diameter), self._bounds.max_pixels)
        return any(
            padded_side(height) * padded_side(width) > self._bounds.tile_pixels for height, width in (shape, seen)
        )

    def _run(self, segmenter: Segmenter, prepared: Floats) -> Floats:
        """The raw fields of one input, by whichever owner is free."""
        owner = self._turns.get()
        try:
            return owner.run(segmenter, prepared)
        finally:
            self._turns.put(owner)


def _end_process() -> None:
    """The device is lost: let the jobs in hand be given back, then end; the supervisor starts anew."""

    def end() -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        threading.Event().wait(5)
        os._exit(70)

    threading.Thread(target=end, daemon=True).start()


def main(argument: str) -> None:
    """Serve one device until told to stop."""
    settings = Settings()
    (spec,) = parse(argument)
    link = Link(settings.grace_s)
    to = Connections.open(settings)
    limits = ImageLimits(settings.max_bytes, settings.max_pixels)
    app = create_app(settings)
    add_stage(app, Stage.EMBED, Delivery(Stage.EMBED, to.ledger, Embed(to.store, Device(spec, settings), limits)))
    Reconciler(to.redis, to.ledger, to.store, settings.resend_s).start()
    worker_ready.connect(lambda **_: link.ready(), weak=False)
    start(app, settings, node=spec.node, pool="threads", concurrency=settings.device_threads, queues=EMBED_QUEUES)


if __name__ == "__main__":
    main(sys.argv[1])
