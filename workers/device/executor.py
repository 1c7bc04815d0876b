"""Runs batches of inputs on a device, in a thread that owns the device."""

from __future__ import annotations

import logging
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from maskq.tasks import trace
from maskq.tasks.runner import DeviceUnavailable

from .batch_runner import Answer, BatchRunner, DeviceLost, DeviceMemoryExhausted
from .batching import Batcher, BatchKey, BatchLimits, Item, Model

log = logging.getLogger(__name__)

#: Delay between `on_death`, by which the process begins to shut down, and the errors of the waiting callers, seconds.
ERROR_DELAY_S = 1.5

Result = TypeVar("Result")


@dataclass
class _Batch(Generic[Model, Item, Answer]):
    """A batch, with a future per input."""

    key: BatchKey[Model]
    items: list[Item]
    answers: list[Future[Answer]]
    #: What `BatchRunner.start` returned.
    started: Any = None

    def part(self, part: slice) -> _Batch[Model, Item, Answer]:
        return _Batch(self.key, self.items[part], self.answers[part])


class BatchExecutor(Generic[Model, Item, Answer]):
    """Runs the inputs of many threads in the batches that a `Batcher` forms within `limits`.

    `in_hand` returns the number of jobs in the process, those that wait here included: the others may arrive soon. If
    a batch fails, its inputs run one by one, so that one bad image fails alone. If memory was too small for it, its
    halves run, batches of that key are smaller from then on, and `on_halving` is called.

    If the thread dies, or the runner raises `DeviceLost`, `on_death` is called and, `error_delay_s` seconds later, all
    waiting callers get `DeviceLost`: by then the process takes no more jobs, so none of those that return to the queue.
    """

    def __init__(
        self,
        runner: BatchRunner[Model, Item, Answer],
        limits: BatchLimits,
        *,
        in_hand: Callable[[], int],
        on_death: Callable[[], None],
        on_halving: Callable[[], None] = lambda: None,
        error_delay_s: float = ERROR_DELAY_S,
    ) -> None:
        self._runner, self._in_hand, self._on_halving = runner, in_hand, on_halving
        self._on_death, self._error_delay_s = on_death, error_delay_s
        self._waiting: Batcher[Model, tuple[Item, Future[Answer]]] = Batcher(limits)
        #: The batches on the device, the oldest first.
        self._running: deque[_Batch[Model, Item, Answer]] = deque()
        #: When the device began with its oldest batch, on the monotonic clock; None if it is idle.
        self._busy_since: float | None = None
        self._changed = threading.Condition()
        self._dead = False
        self._thread = threading.Thread(target=self._loop, name="device-owner", daemon=True)
        self._thread.start()

    def run(self, key: BatchKey[Model], item: Item) -> Answer:
        """Run one input. Raises `DeviceLost`, `DeviceUnavailable`, and what the runner raises."""
        answer: Future[Answer] = Future()
        with self._changed:
            if self._dead:
                raise DeviceUnavailable("the device's thread is gone")
            self._waiting.add(key, (item, answer), time.monotonic())
            self._changed.notify()
        try:
            with trace.span("wait"):
                return answer.result()
        finally:
            del answer  # else a reference cycle: an error's traceback holds this frame, and the frame the error

    def health(self, limit_s: float) -> str | None:
        """Return why the device can't be used any more (lost, or busy with one batch for over `limit_s`), or None."""
        if not self._thread.is_alive():
            return "the thread that owned the device is gone"
        return overdue(self._busy_since, limit_s)

    def _loop(self) -> None:
        try:
            while True:
                self._step()
        except BaseException as error:  # after any error here the device's state is unknown
            log.exception("the thread that owns the device died")
            self._fail_all(error)

    def _step(self) -> None:
        """Start a batch if one is due; finish the oldest one if the device is full or nothing else is to be done."""
        batch = self._next_batch()
        if batch is not None:
            self._start(batch)
        if batch is None or len(self._running) >= self._runner.depth:
            self._finish_oldest()

    def _next_batch(self) -> _Batch[Model, Item, Answer] | None:
        """Return the next batch; None if none is due while others are on the device."""
        with self._changed:
            while True:
                running = sum(len(batch.items) for batch in self._running)
                coming = self._in_hand() - len(self._waiting) - running
                if due := self._waiting.take(now := time.monotonic(), coming):
                    key, entries = due
                    return _Batch(key, [item for item, _ in entries], [answer for _, answer in entries])
                if self._running:
                    return None
                due_at = self._waiting.due_at(coming)
                self._changed.wait(None if due_at is None else due_at - now)

    def _start(self, batch: _Batch[Model, Item, Answer]) -> None:
        exclusive = self._runner.exclusive(batch.key, len(batch.items))
        if exclusive:
            self._finish_all()
        if not self._running:
            self._busy_since = time.monotonic()
        self._running.append(batch)
        error = _attempt(lambda: self._launch(batch))
        if error is not None:
            self._running.pop()
            self._finish_all()  # the other batches on the device take memory, and they didn't fail
            self._running.append(batch)
            self._retry(batch, error)
            self._remove_oldest()
        if exclusive:
            self._finish_all()

    def _launch(self, batch: _Batch[Model, Item, Answer]) -> None:
        batch.started = self._runner.start(batch.key, batch.items)

    def _finish_all(self) -> None:
        while self._running:
            self._finish_oldest()

    def _finish_oldest(self) -> None:
        batch = self._running[0]
        answers = _attempt(lambda: self._runner.finish(batch.started))
        batch.started = None  # free its memory before the callers get their answers: then the process may end any time
        self._complete(batch, answers)
        self._remove_oldest()

    def _remove_oldest(self) -> None:
        self._running.popleft()
        self._busy_since = time.monotonic() if self._running else None

    def _complete(self, batch: _Batch[Model, Item, Answer], answers: list[Answer] | Exception) -> None:
        """Answer the callers of a batch that ran, or run it again if it failed."""
        if isinstance(answers, Exception):
            self._retry(batch, answers)
        else:
            for future, answer in zip(batch.answers, answers, strict=True):
                future.set_result(answer)

    def _retry(self, batch: _Batch[Model, Item, Answer], error: Exception) -> None:
        """Run a failed batch again in parts; an input that fails alone has failed."""
        count = len(batch.items)
        if count == 1:
            batch.answers[0].set_exception(error)
            return
        size = 1
        if isinstance(error, DeviceMemoryExhausted):
            size = count // 2
            with self._changed:
                self._waiting.halve(batch.key, count)
            self._on_halving()
        for first in range(0, count, size):
            self._run(batch.part(slice(first, first + size)))

    def _run(self, batch: _Batch[Model, Item, Answer]) -> None:
        self._busy_since = time.monotonic()
        self._complete(batch, _attempt(lambda: self._runner.finish(self._runner.start(batch.key, batch.items))))

    def _fail_all(self, error: BaseException) -> None:
        self._on_death()
        threading.Event().wait(self._error_delay_s)
        with self._changed:
            self._dead = True
            answers = [answer for batch in self._running for answer in batch.answers]
            answers += [answer for _, answer in self._waiting.empty()]
        for answer in answers:
            if not answer.done():
                answer.set_exception(DeviceLost(f"the device's thread died: {error!r}"))


def overdue(started: float | None, limit_s: float) -> str | None:
    """Return a complaint if the batch that started then (monotonic clock) has run for over `limit_s` seconds."""
    if started is None or time.monotonic() - started <= limit_s:
        return None
    return f"one batch has been on the device for over {limit_s:g} s"


def _attempt(work: Callable[[], Result]) -> Result | Exception:
    """Return what the work returns, or its error; raises `DeviceLost`.

    Unlike in an `except` block, errors of what the caller does next are not chained to this error.
    """
    try:
        return work()
    except DeviceLost:
        raise
    except Exception as error:
        _drop_tracebacks(error)
        return error


def _drop_tracebacks(error: Exception) -> None:
    """Drop the tracebacks of an exception and of those it is chained to; keep their text as a note.

    The frames hold the failed batch's memory on the device, which the next batch needs. They also hold the waiting
    callers, who hold the exception: a cycle that would live until the next garbage collection.
    """
    error.add_note("".join(traceback.format_exception(error)))
    chain: list[BaseException | None] = [error]
    seen = set[int]()
    while chain:
        link = chain.pop()
        if link is not None and id(link) not in seen:
            seen.add(id(link))
            traceback.clear_frames(link.__traceback__)  # others may hold the traceback
            link.__traceback__ = None
            chain += link.__cause__, link.__context__
