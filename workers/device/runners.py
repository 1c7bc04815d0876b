"""How batches of a model's inputs run on a device: on a CPU's cores, and on a GPU with its cudnn benchmark.

Both count and time what they run. A batch's time is the time that the device gave it: on a GPU, from the begin of the
network to its end, by the GPU's own clock; on a CPU from the begin of the batch to the end.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeAlias

import torch

from maskq.segmentation.arrays import Floats
from maskq.segmentation.clustering.fields import Compact
from maskq.segmentation.network.inference import Input, Started
from maskq.segmentation.segmenter import Segmenter
from maskq.segmentation.torch_devices import at_fault, short_of_memory
from maskq.tasks import trace

from .batching import BatchKey
from .cudnn_benchmark import CudnnBenchmark, SearchMode
from .executor import BatchRunner, DeviceLost, DeviceMemoryExhausted
from .metrics import Counters

Answer: TypeAlias = Compact | Floats


class CpuRunner(BatchRunner[Segmenter, Input, Answer]):
    """One input at a time, on `threads()` threads."""

    def __init__(self, counters: Counters, threads: Callable[[], int]) -> None:
        self._counters, self._threads = counters, threads

    def start(self, kind: BatchKey[Segmenter], batch: list[Input]) -> tuple[Segmenter, float, Started]:
        """Compute the batch."""
        began = time.perf_counter()
        torch.set_num_threads(self._threads())  # of the calling thread
        with _typed_errors():
            return kind.model, began, kind.model.start(batch, kind.shape)

    def finish(self, started: tuple[Segmenter, float, Started]) -> list[Answer]:
        """Pack what was computed."""
        segmenter, began, computed = started
        with _typed_errors():
            answers = segmenter.finish(computed)
        seconds = time.perf_counter() - began
        self._counters.ran(len(answers), seconds)
        trace.spent("forward", seconds, images=len(answers))
        return answers


@dataclass(frozen=True)
class _Launched:
    """A batch on a GPU."""

    kind: BatchKey[Segmenter]
    run: SearchMode
    #: On `time.perf_counter`'s clock.
    began: float
    started: Started


class GpuRunner(BatchRunner[Segmenter, Input, Answer]):
    """Two batches at once: while one is computed, the next is copied there and the last one's answers come back.

    torch keeps the plan that it has for a convolution and a shape, found by search or not, and looks at
    `cudnn.benchmark` only where it has none: by that flag alone, a shape that has run once would never be searched. But
    it keeps them for each thread. So batches with the search and batches without are launched by two threads.
    """

    depth = 2

    def __init__(self, counters: Counters, benchmark: CudnnBenchmark) -> None:
        self._counters, self._benchmark = counters, benchmark
        self._off, self._on = (ThreadPoolExecutor(1, f"launch-{name}") for name in ("off", "on"))

    def alone(self, kind: BatchKey[Segmenter], count: int) -> bool:
        """While cudnn searches, it times: nothing else may run, and what it took is to be known."""
        return self._benchmark.next(_shape(kind, count)) is SearchMode.SEARCH

    def start(self, kind: BatchKey[Segmenter], batch: list[Input]) -> _Launched:
        """Have the batch launched; returns before it is done."""
        run = self._benchmark.next(_shape(kind, len(batch)))
        began = time.perf_counter()
        with _typed_errors():
            launcher = self._off if run is SearchMode.OFF else self._on
            return _Launched(kind, run, began, launcher.submit(_launch, kind, batch, run).result())

    def finish(self, started: _Launched) -> list[Answer]:
        """Wait for the batch's answers, and tell what it has cost."""
        with _typed_errors():
            answers = started.kind.model.finish(started.started)
        seconds = started.started.seconds()
        if seconds is None:  # no GPU after all
            seconds = time.perf_counter() - started.began
        self._counters.ran(len(answers), seconds)
        trace.spent("forward", seconds, images=len(answers), shape=started.kind.shape, cudnn=started.run.name)
        self._benchmark.ran(_shape(started.kind, len(answers)), started.run, seconds)
        return answers


def _launch(kind: BatchKey[Segmenter], batch: list[Input], run: SearchMode) -> Started:
    torch.backends.cudnn.benchmark = run is not SearchMode.OFF
    return kind.model.start(batch, kind.shape)


def _shape(kind: BatchKey[Segmenter], count: int) -> tuple[str, int, int, int]:
    """What cudnn searches anew for."""
    return (kind.name, count, *kind.shape)


@contextmanager
def _typed_errors() -> Iterator[None]:
    """Tell a device that is too small, or lost, from an input that can't be run."""
    try:
        yield
    except Exception as error:
        if short_of_memory(error):
            traceback.clear_frames(error.__traceback__)  # they hold what was computed so far
            _empty_cache()
            raise DeviceMemoryExhausted(str(error)) from error
        if at_fault(error):  # the context is lost, and with it every later call
            raise DeviceLost(str(error)) from error
        raise


def _empty_cache() -> None:
    """Have torch give back the memory that it keeps: cudnn and others do not get theirs from it.

    Raises `DeviceLost`: where the context is lost, no engine is found for a convolution either.
    """
    try:
        torch.cuda.empty_cache()  # nothing where there is no GPU
    except RuntimeError as error:
        raise DeviceLost(str(error)) from error
