"""Runs images on a CPU: as many at once as there are cores, or one alone on all cores."""

import logging
import threading
import time
from collections.abc import Callable
from functools import partial
from queue import PriorityQueue

from maskq.segmentation.network.inference import Input
from maskq.segmentation.segmenter import Segmenter
from maskq.tasks import trace
from maskq.tasks.runner import DeviceUnavailable

from .batch_runner import BatchRunner, DeviceLost
from .batching import BatchKey, BatchLimits
from .executor import ERROR_DELAY_S, BatchExecutor, overdue
from .metrics import Counters
from .runners import CpuRunner, Output

log = logging.getLogger(__name__)


class CpuExecutor:
    """Divides the cores among the images that run.

    Two images side by side on one thread each take less time than one after the other on two threads: 43 ms per image
    against 50 at 256², and against 79 if the threads sleep while they wait. An image with one core runs in the thread
    that decoded it; one with several cores runs in the thread of a `BatchExecutor`, which has a team of threads.
    """

    def __init__(self, cores: int, counters: Counters, on_death: Callable[[], None]) -> None:
        self._cores, self._counters = cores, counters
        self._inline = InlineExecutor(CpuRunner(counters, lambda: 1), on_death=on_death)
        runners = [CpuRunner(counters, partial(self._threads, max(1, cores // (2 if n else 1)))) for n in range(cores)]
        self._executors = [
            BatchExecutor(runner, BatchLimits(), in_hand=counters.in_hand, on_death=on_death) for runner in runners
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
            return (self._inline if self._share() == 1 else slot[1]).run(key, item)
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


class InlineExecutor:
    """Runs single inputs in the calling threads, concurrently: the switch to another thread and back may take longer
    than a small network.

    It handles a lost device as `BatchExecutor` does.
    """

    def __init__(
        self,
        runner: BatchRunner[Segmenter, Input, Output],
        *,
        on_death: Callable[[], None],
        error_delay_s: float = ERROR_DELAY_S,
    ) -> None:
        self._runner, self._on_death, self._error_delay_s = runner, on_death, error_delay_s
        #: By thread: when its current input started, on the monotonic clock.
        self._started: dict[int, float] = {}
        self._dead = False

    def run(self, key: BatchKey[Segmenter], item: Input) -> Output:
        """Run one input. Raises `DeviceLost`, `DeviceUnavailable`, and what the runner raises."""
        if self._dead:
            raise DeviceUnavailable("the device is gone")
        thread = threading.get_ident()
        self._started[thread] = time.monotonic()
        try:
            return self._runner.finish(self._runner.start(key, [item]))[0]
        except BaseException as error:
            if isinstance(error, Exception) and not isinstance(error, DeviceLost):
                raise
            log.exception("the device is lost")
            self._dead = True
            self._on_death()
            threading.Event().wait(self._error_delay_s)
            raise DeviceLost(f"the device died: {error!r}") from error
        finally:
            del self._started[thread]

    def health(self, limit_s: float) -> str | None:
        """Return why the device can't be used any more (lost, or busy with one input for over `limit_s`), or None."""
        if self._dead:
            return "the device is gone"
        return overdue(min(tuple(self._started.values()), default=None), limit_s)
