"""The device of a process, as the embed task uses it: models, and the executor that runs them."""

import os
import signal
import threading
from contextlib import nullcontext
from functools import partial
from math import prod

from maskq.producer.settings import Settings
from maskq.segmentation.arrays import Pixels
from maskq.segmentation.models.registry import ModelRegistry
from maskq.segmentation.models.spec import ModelSpec
from maskq.segmentation.network.inference import Input
from maskq.segmentation.network.shape_buckets import aligned_shape, bucket_shape
from maskq.segmentation.network.tiling import Bounds
from maskq.segmentation.rescaling import resized_shape, scale_factor
from maskq.segmentation.segmenter import Segmenter
from maskq.tasks import leases

from ..celery_worker.publisher import Entries
from ..celery_worker.shutdown import exit_after
from ..supervision.heartbeat import EXIT_UNHEALTHY
from .accelerators.base import ExecutorOptions
from .batching import BatchKey, BatchLimits
from .cudnn_benchmark import CudnnBenchmark
from .hardware import cores
from .metrics import Counters
from .model_cache import ModelCache
from .runners import Output
from .spec import DeviceSpec


class Device:
    """Runs models on this process's device. Threads share it; models are loaded at their first use."""

    def __init__(self, spec: DeviceSpec, settings: Settings) -> None:
        self._spec, self._settings, self._accelerator = spec, settings, spec.accelerator
        self._cores = settings.torch_threads or cores()
        self._batch_size = spec.batch or settings.batch_size
        self.counters, self._benchmark = Counters(), CudnnBenchmark(spec.benchmark)
        registry, torch_device = ModelRegistry(settings.model_folders), self._accelerator.torch_device
        self._models = ModelCache(registry, torch_device, settings.model_memory, spec.precision)
        self._bounds = Bounds(settings.tile_pixels, settings.max_pixels)
        #: Tiled images run one at a time: this bounds their memory, and side by side they were not faster.
        self._tiled_images = threading.Lock()
        self._executor = self._accelerator.executor(
            ExecutorOptions(
                cores=self._cores,
                limits=BatchLimits(self._batch_size, settings.tile_pixels, settings.batch_wait_ms / 1000, powers=True),
                counters=self.counters,
                benchmark=self._benchmark,
                on_death=_end_process,
            )
        )
        #: Has the attribute `prepared` in threads that were prepared.
        self._thread = threading.local()

    @property
    def threads(self) -> int:
        """Number of jobs that the process has in hand at once."""
        return self._settings.device_threads or self._accelerator.jobs_in_hand(self._batch_size, self._cores)

    def entries(self) -> Entries:
        """Return the device's specification and counters, for display."""
        counters = {**self.counters.entries(), **self._benchmark.counters()}
        return {"device": str(self._spec), "threads": self.threads, **counters}

    def health(self) -> str | None:
        """Return why this process can't run anything any more, or None."""
        return self._executor.health(self._settings.device_limit_s)

    def spec(self, name: str) -> ModelSpec:
        """Return the spec of the model that is now `NAME` or `NAME@VERSION`, which is loaded if necessary.

        Raises `UnknownModel`, `InvalidModel`.
        """
        return self._model(name).spec

    def fields(
        self, name: str, pixels: Pixels, *, tta: bool = False, diameter: float | None = None
    ) -> tuple[ModelSpec, bytes]:
        """Return the spec of the model that is now `NAME` or `NAME@VERSION`, and its packed fields of (H, W, C) pixels.

        Options and errors are those of `Segmenter.fields`; also raises `UnknownModel` and `InvalidModel`.
        """
        segmenter = self._model(name)
        with self._tiled_images if self._is_tiled(segmenter.spec, pixels, diameter) else nullcontext():
            return segmenter.spec, segmenter.fields(
                pixels, tta=tta, diameter=diameter, bounds=self._bounds, run=partial(self._run, segmenter)
            )

    def _model(self, name: str) -> Segmenter:
        if not hasattr(self._thread, "prepared"):
            self._accelerator.prepare_thread()
            self._thread.prepared = True
        return self._models.get(name)

    def _is_tiled(self, spec: ModelSpec, pixels: Pixels, diameter: float | None) -> bool:
        """Return whether an image takes as much memory as tiled ones, as it is or rescaled for its diameter."""
        shape = pixels.shape[0], pixels.shape[1]
        rescaled = resized_shape(shape, scale_factor(spec, diameter), self._bounds.max_pixels)
        return any(prod(aligned_shape(*size)) > self._bounds.tile_pixels for size in (shape, rescaled))

    def _run(self, segmenter: Segmenter, item: Input) -> Output:
        height, width = item.planes.shape[1:]
        pad = bucket_shape if self._accelerator.batches and segmenter.supports_padding else aligned_shape
        leases.check()
        return self._executor.run(BatchKey(segmenter, segmenter.spec.ref, pad(height, width)), item)


def _end_process() -> None:
    """End this process because its device is lost, after its jobs return to the queue; the supervisor restarts it."""
    exit_after(5, EXIT_UNHEALTHY)
    os.kill(os.getpid(), signal.SIGTERM)
