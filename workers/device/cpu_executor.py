"""Runs images on a CPU: as many at once as there are cores, or one alone on all cores."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from queue import PriorityQueue

from maskq.segmentation.network.inference import Input
from maskq.segmentation.segmenter import Segmenter
from maskq.tasks import trace

from .batching import BatchKey, BatchLimits
from .executor import BatchExecutor
from .inline_executor import InlineExecutor
from .metrics import Counters
from .runners import CpuRunner, Output


class CpuExecutor:
    """Divides the cores among the images that run.

    Two images side by side on one thread each take less time than one after the other on two threads: 43 ms per image
    against 50 at 256², and against 79 if the threads sleep while they wait. An image with one core runs in the thread
    that decoded it; one with several cores runs in the thread of a `BatchExecutor`, which has a team of threads.
    """

    def __init__(self, cores: int, counters: Counters, on_death: Callable[[], None]) -> None:
        self._cores, self._counters = cores, counters
        self._inline = InlineExecutor(CpuRunner(counters, lambda: 1), on_death=on_death)
        self._executors = [
            BatchExecutor(
                CpuRunner(counters, partial(self._threads, max(1, cores // (2 if number else 1)))),
                BatchLimits(),
                in_hand=counters.in_hand,
                on_death=on_death,
            )
            for number in range(cores)
        ]
        #: The right to run one image, with the executor for it. The free one with the lowest number is taken, so an
        #: image that is alone always has the same: with a second team of threads for all cores, both teams would sleep
        #: while they wait for each other (133 ms per image at 256² against 90).
        self._slots: PriorityQueue[tuple[int, BatchExecutor[Segmenter, Input, Output]]] = PriorityQueue()
        for slot in enumerate(self._executors):
            self._slots.put(slot)

    def run(self, key: BatchKey[Segmenter], item: Input) -> Output:
        """Run one input. Raises `DeviceLost`, `DeviceUnavailable`, and what the runner raises."""
        with trace.span("wait"):
            slot = self._slots.get()
        try:
            if self._share() == 1:
                return self._inline.run(key, item)
            return slot[1].run(key, item)
        finally:
            self._slots.put(slot)

    def health(self, limit_s: float) -> str | None:
        """Return why the device can't be used any more (lost, or busy with one image for over `limit_s`), or None."""
        reasons = [self._inline.health(limit_s), *(executor.health(limit_s) for executor in self._executors)]
        return next(filter(None, reasons), None)

    def _threads(self, limit: int) -> int:
        return min(limit, self._share())

    def _share(self) -> int:
        """Return the cores per job in hand: a job that is decoded or stored now runs soon, or ran just now."""
        running = self._cores - self._slots.qsize()
        return max(1, self._cores // max(1, running, self._counters.in_hand()))
