"""The thread that owns a device and runs networks on it, on batches of inputs of one kind; and how to do without it."""

from __future__ import annotations

import logging
import threading
import time
import traceback
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from maskq.tasks.runner import DeviceFailed, DeviceUnavailable

from .batching import Batcher, BatchKey, BatchLimits, Model

log = logging.getLogger(__name__)

#: Seconds between the news that the process is to end and the errors of those who wait.
_PARTING_S = 1.5

Given = TypeVar("Given")
Answer = TypeVar("Answer")
Made = TypeVar("Made")


class DeviceLost(DeviceFailed):
    """The thread that owned the device is gone; the job has to run elsewhere."""


class DeviceMemoryExhausted(RuntimeError):
    """The device's memory is too small for what was to run; for one input alone, a larger device may do."""


class BatchRunner(ABC, Generic[Model, Given, Answer]):
    """How batches run on a device. Only its owner's thread calls it.

    Its methods raise `DeviceMemoryExhausted`, and `DeviceLost` where no later call can succeed; any other error is
    taken for one of the inputs'.
    """

    #: Batches that are on the device at once, the next one started before the last one is finished.
    depth = 1

    def alone(self, kind: BatchKey[Model], count: int) -> bool:
        """Whether the next batch, of this kind and size, has to have the device to itself."""
        return False

    @abstractmethod
    def start(self, kind: BatchKey[Model], batch: list[Given]) -> Any:
        """Begin a batch."""

    @abstractmethod
    def finish(self, started: Any) -> list[Answer]:
        """Wait for a batch that was begun: an answer for each of its inputs, in order. Batches end as they began."""


@dataclass
class _Batch(Generic[Model, Given, Answer]):
    """Inputs on the device, and who waits for them."""

    kind: BatchKey[Model]
    given: list[Given]
    answers: list[Future[Answer]]
    started: Any = None

    def part(self, of: slice) -> _Batch[Model, Given, Answer]:
        return _Batch(self.kind, self.given[of], self.answers[of])


class BatchExecutor(Generic[Model, Given, Answer]):
    """Runs what threads hand in, in the batches that `Batcher` makes of it within `limits`.

    `in_hand` says how many jobs the process has, those that wait here among them: the others may come soon. Where a
    batch fails, its inputs run one by one, so that one bad image fails alone; where memory was too small for it, its
    halves run, and batches of that kind are smaller from then on (`on_halving` is told).

    Where the thread itself dies, or the runner raises `DeviceLost`, `on_death` is called and, `parting_s` seconds
    later, everything that waits raises `DeviceLost`: by then the process has stopped taking jobs, and takes none of
    those that are given back.
    """

    def __init__(
        self,
        runner: BatchRunner[Model, Given, Answer],
        limits: BatchLimits,
        *,
        in_hand: Callable[[], int],
        on_death: Callable[[], None],
        on_halving: Callable[[], None] = lambda: None,
        parting_s: float = _PARTING_S,
    ) -> None:
        self._runner, self._in_hand, self._on_halving = runner, in_hand, on_halving
        self._on_death, self._parting_s = on_death, parting_s
        self._waiting: Batcher[Model, tuple[Given, Future[Answer]]] = Batcher(limits)
        self._flying: deque[_Batch[Model, Given, Answer]] = deque()
        #: Since when the device has been at work on one batch, on the monotonic clock.
        self._since: float | None = None
        self._changed = threading.Condition()
        self._stopping = self._dead = False
        self._thread = threading.Thread(target=self._live, name="device-owner", daemon=True)
        self._thread.start()

    def run(self, kind: BatchKey[Model], given: Given) -> Answer:
        """The answer to one input. Raises `DeviceLost`, `DeviceUnavailable`, and what the runner raises."""
        answer: Future[Answer] = Future()
        with self._changed:
            if self._dead or self._stopping:
                raise DeviceUnavailable("the device's thread is gone")
            self._waiting.add(kind, (given, answer), time.monotonic())
            self._changed.notify()
        try:
            return answer.result()
        finally:
            del answer  # an error's frames, this one among them, would hold it, and it them

    def trouble(self, limit_s: float) -> str | None:
        """Why nothing is to be expected of the device any more: it is dead, or at one batch for over `limit_s` s."""
        if not self._thread.is_alive():
            return "the thread that owned the device is gone"
        return _too_long(self._since, limit_s)

    def close(self) -> None:
        """Finish what waits and end the thread."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        self._thread.join()

    def _live(self) -> None:
        try:
            while self._step():
                pass
        except BaseException as error:  # whatever it was, the device is in an unknown state
            log.exception("the thread that owns the device died")
            self._abandon(error)

    def _step(self) -> bool:
        """Start a batch if one is due; wait for the oldest if the device has its fill, or nothing else to do."""
        batch = self._next()
        if batch is not None:
            self._start(batch)
        elif not self._flying:
            return False
        if batch is None or len(self._flying) >= self._runner.depth:
            self._finish()
        return True

    def _next(self) -> _Batch[Model, Given, Answer] | None:
        """The next batch; None where none is due while others are on the device, or at the end."""
        with self._changed:
            while True:
                coming = 0 if self._stopping else self._in_hand() - len(self._waiting) - self._count_flying()
                if taken := self._waiting.take(now := time.monotonic(), coming):
                    kind, items = taken
                    return _Batch(kind, [given for given, _ in items], [answer for _, answer in items])
                if self._flying or self._stopping:
                    return None
                due = self._waiting.due_at(coming)
                self._changed.wait(None if due is None else due - now)

    def _count_flying(self) -> int:
        return sum(len(batch.given) for batch in self._flying)

    def _start(self, batch: _Batch[Model, Given, Answer]) -> None:
        alone = self._runner.alone(batch.kind, len(batch.given))
        if alone:
            self._drain()
        if not self._flying:
            self._since = time.monotonic()
        self._flying.append(batch)
        failed = _tried(lambda: self._launch(batch))
        if failed is not None:
            self._flying.pop()
            self._drain()  # what else is on the device takes memory, and has done nothing wrong
            self._flying.append(batch)
            self._again(batch, failed)
            self._landed()
        if alone:
            self._drain()

    def _launch(self, batch: _Batch[Model, Given, Answer]) -> None:
        batch.started = self._runner.start(batch.kind, batch.given)

    def _drain(self) -> None:
        while self._flying:
            self._finish()

    def _finish(self) -> None:
        """Answer the oldest batch on the device."""
        batch = self._flying[0]
        answers = _tried(lambda: self._runner.finish(batch.started))
        batch.started = None  # let its memory go before the answers, after which the process may end at any moment
        self._ended(batch, answers)
        self._landed()

    def _landed(self) -> None:
        """The oldest batch is off the device."""
        self._flying.popleft()
        self._since = time.monotonic() if self._flying else None

    def _again(self, batch: _Batch[Model, Given, Answer], error: Exception) -> None:
        """Run a batch that failed once more, in parts; what fails alone has failed."""
        count = len(batch.given)
        if count == 1:
            batch.answers[0].set_exception(error)
            return
        size = 1
        if isinstance(error, DeviceMemoryExhausted):
            size = count // 2
            with self._changed:
                self._waiting.halve(batch.kind, count)
            self._on_halving()
        for first in range(0, count, size):
            self._run(batch.part(slice(first, first + size)))

    def _run(self, batch: _Batch[Model, Given, Answer]) -> None:
        self._since = time.monotonic()
        self._ended(batch, _tried(lambda: self._runner.finish(self._runner.start(batch.kind, batch.given))))

    def _ended(self, batch: _Batch[Model, Given, Answer], answers: list[Answer] | Exception) -> None:
        """Answer a batch that was run, or run it once more."""
        if isinstance(answers, Exception):
            self._again(batch, answers)
            return
        for waiting, answer in zip(batch.answers, answers, strict=True):
            waiting.set_result(answer)

    def _abandon(self, error: BaseException) -> None:
        self._on_death()
        threading.Event().wait(self._parting_s)
        with self._changed:
            self._dead = True
            left = [answer for batch in self._flying for answer in batch.answers]
            left += [answer for _, answer in self._waiting.empty()]
        for answer in left:
            if not answer.done():
                answer.set_exception(DeviceLost(f"the device's thread died: {error!r}"))


class InlineExecutor(Generic[Model, Given, Answer]):
    """Runs single inputs in the threads that bring them, side by side: to wake another thread, and be woken by it, may
    take longer than a small network.

    A loss is dealt with as by `BatchExecutor`.
    """

    def __init__(
        self, runner: BatchRunner[Model, Given, Answer], *, on_death: Callable[[], None], parting_s: float = _PARTING_S
    ) -> None:
        self._runner, self._on_death, self._parting_s = runner, on_death, parting_s
        #: Since when each thread has been at it, on the monotonic clock.
        self._since: dict[int, float] = {}
        self._dead = False

    def run(self, kind: BatchKey[Model], given: Given) -> Answer:
        """The answer to one input. Raises `DeviceLost`, `DeviceUnavailable`, and what the runner raises."""
        if self._dead:
            raise DeviceUnavailable("the device is gone")
        thread = threading.get_ident()
        self._since[thread] = time.monotonic()
        try:
            return self._runner.finish(self._runner.start(kind, [given]))[0]
        except BaseException as error:
            if isinstance(error, Exception) and not isinstance(error, DeviceLost):
                raise
            self._part()
            raise DeviceLost(f"the device died: {error!r}") from error
        finally:
            del self._since[thread]

    def _part(self) -> None:
        log.exception("the device is lost")
        self._dead = True
        self._on_death()
        threading.Event().wait(self._parting_s)

    def trouble(self, limit_s: float) -> str | None:
        """Why nothing is to be expected of the device any more: it is dead, or at one input for over `limit_s` s."""
        if self._dead:
            return "the device is gone"
        return _too_long(min(tuple(self._since.values()), default=None), limit_s)


def _too_long(since: float | None, limit_s: float) -> str | None:
    """What to say of a batch that has been on the device since then, if that is over `limit_s` s ago."""
    if since is None or time.monotonic() - since <= limit_s:
        return None
    return f"one batch has been on the device for over {limit_s:g} s"


def _tried(work: Callable[[], Made]) -> Made | Exception:
    """What the work gives, or the error with which it failed; `DeviceLost` is raised.

    What fails after this is not chained to the error, as it would be in an `except` block.
    """
    try:
        return work()
    except DeviceLost:
        raise
    except Exception as error:
        _let_go(error)
        return error


def _let_go(error: Exception) -> None:
    """Have an error, and those behind it, hold no frames; what they tell of them becomes a note.

    The frames hold what the failed work had on the device, whose memory the next work needs, and lead back to those who
    wait for the error and hold it, which would keep all of that until the garbage is collected.
    """
    error.add_note("".join(traceback.format_exception(error)))
    behind: list[BaseException | None] = [error]
    seen = set[int]()
    while behind:
        one = behind.pop()
        if one is not None and id(one) not in seen:
            seen.add(id(one))
            traceback.clear_frames(one.__traceback__)  # others may hold the traceback
            one.__traceback__ = None
            behind += one.__cause__, one.__context__
