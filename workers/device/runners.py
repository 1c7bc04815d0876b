"""Runs batches of a model's inputs with torch: on a CPU's cores, and on a GPU with its cudnn benchmark.

Both runners count and time the batches. A batch's time is, on a GPU, the network's by the GPU's own clock; on a CPU,
the time from the start of the batch to its end.
"""

import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeAlias

import torch

from maskq.segmentation.arrays import Floats
from maskq.segmentation.clustering.fields import CompactFields
from maskq.segmentation.network.inference import Input, RunningBatch
from maskq.segmentation.segmenter import Segmenter
from maskq.segmentation.torch_devices import is_device_error, is_out_of_memory
from maskq.tasks import trace

from .batch_runner import BatchRunner, DeviceLost, DeviceMemoryExhausted
from .batching import BatchKey
from .cudnn_benchmark import CudnnBenchmark, SearchMode
from .metrics import Counters

#: What the network computes of one input.
Output: TypeAlias = CompactFields | Floats


class CpuRunner(BatchRunner[Segmenter, Input, Output]):
    """Runs one input at a time, on `threads()` threads."""

    def __init__(self, counters: Counters, threads: Callable[[], int]) -> None:
        self._counters, self._threads = counters, threads

    def start(self, key: BatchKey[Segmenter], batch: list[Input]) -> tuple[Segmenter, float, RunningBatch]:
        """Compute the batch."""
        began = time.perf_counter()
        torch.set_num_threads(self._threads())  # of the calling thread
        with _typed_errors():
            return key.model, began, key.model.start(batch, key.shape)

    def finish(self, started: tuple[Segmenter, float, RunningBatch]) -> list[Output]:
        """Pack the computed fields."""
        segmenter, began, computed = started
        with _typed_errors():
            outputs = segmenter.finish(computed)
        seconds = time.perf_counter() - began
        self._counters.add_batch(len(outputs), seconds)
        trace.spent("forward", seconds, images=len(outputs))
        return outputs


@dataclass(frozen=True)
class _Launched:
    """A batch on a GPU."""

    key: BatchKey[Segmenter]
    mode: SearchMode
    #: On `time.perf_counter`'s clock.
    began: float
    started: RunningBatch


class GpuRunner(BatchRunner[Segmenter, Input, Output]):
    """Runs two batches at once: while one is computed, the next is copied in and the last outputs are copied out.

    torch keeps its plan for a convolution and a shape, searched or not, and looks at `cudnn.benchmark` only if it has
    none: with that flag alone, a shape that has run once would never be searched. But it keeps plans per thread. So
    one thread launches the batches with the search, and another those without.
    """

    depth = 2

    def __init__(self, counters: Counters, benchmark: CudnnBenchmark) -> None:
        self._counters, self._benchmark = counters, benchmark
        self._off, self._on = (ThreadPoolExecutor(1, f"launch-{name}") for name in ("off", "on"))

    def exclusive(self, key: BatchKey[Segmenter], count: int) -> bool:
        """Return whether cudnn will search: nothing else may disturb its timings, and the search itself is timed."""
        return self._benchmark.mode(_shape(key, count)) is SearchMode.SEARCH

    def start(self, key: BatchKey[Segmenter], batch: list[Input]) -> _Launched:
        """Launch the batch; returns before it is done."""
        mode = self._benchmark.mode(_shape(key, len(batch)))
        began = time.perf_counter()
        with _typed_errors():
            launcher = self._off if mode is SearchMode.OFF else self._on
            return _Launched(key, mode, began, launcher.submit(_launch, key, batch, mode).result())

    def finish(self, started: _Launched) -> list[Output]:
        """Wait for the batch's outputs, and record what it cost."""
        with _typed_errors():
            outputs = started.key.model.finish(started.started)
        seconds = started.started.seconds()
        if seconds is None:  # it ran on a CPU, in a test
            seconds = time.perf_counter() - started.began
        self._counters.add_batch(len(outputs), seconds)
        trace.spent("forward", seconds, images=len(outputs), shape=started.key.shape, cudnn=started.mode.name)
        self._benchmark.record(_shape(started.key, len(outputs)), started.mode, seconds)
        return outputs


def _launch(key: BatchKey[Segmenter], batch: list[Input], mode: SearchMode) -> RunningBatch:
    torch.backends.cudnn.benchmark = mode is not SearchMode.OFF
    return key.model.start(batch, key.shape)


def _shape(key: BatchKey[Segmenter], count: int) -> tuple[str, int, int, int]:
    """Return what cudnn searches once for."""
    return (key.name, count, *key.shape)


@contextmanager
def _typed_errors() -> Iterator[None]:
    """Raise `DeviceMemoryExhausted` or `DeviceLost` if an error is the device's; pass on errors of an input."""
    try:
        yield
    except Exception as error:
        if is_out_of_memory(error):
            traceback.clear_frames(error.__traceback__)  # they hold what was computed so far
            try:  # cudnn and other libraries don't allocate their memory from torch's cache
                torch.cuda.empty_cache()  # does nothing without a GPU
            except RuntimeError as lost:  # a convolution also finds no engine if the CUDA context is lost
                raise DeviceLost(str(lost)) from lost
            raise DeviceMemoryExhausted(str(error)) from error
        if is_device_error(error):  # the CUDA context is lost, and every later call fails too
            raise DeviceLost(str(error)) from error
        raise
