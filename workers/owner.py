"""The thread that owns a device: it alone runs networks, on batches of inputs of one model and shape."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Generic, TypeAlias, TypeVar

import numpy as np

from segmentation.fields import Floats

log = logging.getLogger(__name__)

#: A loaded model: the job's own, so that no other is put in its place while the job runs.
Model = TypeVar("Model", bound=Hashable)
#: (N, channels, h, w) float32 → (N, fields, h, w) float32, by that model.
Forward: TypeAlias = Callable[[Model, Floats], Floats]
_Item: TypeAlias = tuple[Floats, Future[Floats]]


class DeviceLost(RuntimeError):
    """The thread that owned the device is gone; the job has to run elsewhere."""


@dataclass
class _Waiting:
    """Inputs of one model and shape."""

    since: float
    items: list[_Item] = field(default_factory=list)


class DeviceOwner(Generic[Model]):
    """Runs what threads hand in, oldest first, up to `batch_size` of one model and shape at a time.

    A batch has no more than `batch_pixels` pixels, or one input. One that is not full waits `batch_wait_s` seconds for
    more. Where a batch fails, its images run one by one, so that one bad image fails alone. Where the thread itself
    dies, or `forward` raises `DeviceLost`, `on_death` is called and, `parting_s` seconds later, everything that waits
    raises `DeviceLost`: by then the process has stopped taking jobs, and takes none of those that are given back.
    """

    def __init__(
        self,
        forward: Forward[Model],
        *,
        batch_size: int,
        batch_wait_s: float,
        batch_pixels: int = sys.maxsize,
        on_death: Callable[[], None],
        parting_s: float = 1.5,
    ) -> None:
        self._forward, self._batch_size, self._batch_wait_s = forward, batch_size, batch_wait_s
        self._batch_pixels = batch_pixels
        self._on_death, self._parting_s = on_death, parting_s
        self._waiting: OrderedDict[tuple[Model, tuple[int, ...]], _Waiting] = OrderedDict()
        self._changed = threading.Condition()
        self._stopping = self._dead = False
        self._thread = threading.Thread(target=self._live, name="device-owner", daemon=True)
        self._thread.start()

    def run(self, model: Model, prepared: Floats) -> Floats:
        """The raw fields (fields, h, w) of one prepared input (channels, h, w). Raises `DeviceLost`."""
        answer: Future[Floats] = Future()
        key = (model, prepared.shape)
        with self._changed:
            if self._dead or self._stopping:
                raise DeviceLost("the device's thread is gone")
            self._waiting.setdefault(key, _Waiting(time.monotonic())).items.append((prepared, answer))
            self._changed.notify()
        return answer.result()

    def close(self) -> None:
        """Finish what waits and end the thread."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        self._thread.join()

    def _live(self) -> None:
        batch: list[_Item] = []
        try:
            while taken := self._next():
                model, batch = taken
                self._run(model, batch)
        except BaseException as error:  # whatever it was, the device is in an unknown state
            log.exception("the thread that owns the device died")
            self._abandon(error, batch)

    def _next(self) -> tuple[Model, list[_Item]] | None:
        """The oldest model and shape's inputs, once they are a full batch or have waited long enough."""
        with self._changed:
            while True:
                if not self._waiting:
                    if self._stopping:
                        return None
                    self._changed.wait()
                    continue
                (model, shape), oldest = next(iter(self._waiting.items()))
                left = oldest.since + self._batch_wait_s - time.monotonic()
                if len(oldest.items) >= self._most(oldest) or left <= 0 or self._stopping:
                    return model, self._take((model, shape), oldest)
                self._changed.wait(left)

    def _most(self, waiting: _Waiting) -> int:
        """Inputs of this shape in a batch."""
        pixels: int = waiting.items[0][0][0].size
        return max(1, min(self._batch_size, self._batch_pixels // pixels))

    def _take(self, key: tuple[Model, tuple[int, ...]], oldest: _Waiting) -> list[_Item]:
        most = self._most(oldest)
        batch, oldest.items = oldest.items[:most], oldest.items[most:]
        del self._waiting[key]
        if oldest.items:  # to the end of the line, so that no shape starves another
            oldest.since = time.monotonic()
            self._waiting[key] = oldest
        return batch

    def _run(self, model: Model, batch: list[_Item]) -> None:
        try:
            fields = self._forward(model, np.stack([prepared for prepared, _ in batch]))
        except DeviceLost:
            raise
        except Exception as error:
            if len(batch) == 1:
                batch[0][1].set_exception(error)
                return
            for item in batch:
                self._run(model, [item])
            return
        for (_, answer), own in zip(batch, fields, strict=True):
            answer.set_result(own)

    def _abandon(self, error: BaseException, in_hand: list[_Item]) -> None:
        self._on_death()
        threading.Event().wait(self._parting_s)
        with self._changed:
            self._dead = True
            items = [*in_hand, *(item for waiting in self._waiting.values() for item in waiting.items)]
            self._waiting.clear()
        for _, answer in items:
            if not answer.done():
                answer.set_exception(DeviceLost(f"the device's thread died: {error!r}"))
