"""Runs single inputs in the calling threads."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Generic

from maskq.tasks.runner import DeviceUnavailable

from .batch_runner import Answer, BatchRunner, DeviceLost
from .batching import BatchKey, Item, Model
from .executor import ERROR_DELAY_S, overdue

log = logging.getLogger(__name__)


class InlineExecutor(Generic[Model, Item, Answer]):
    """Runs single inputs in the calling threads, concurrently: the switch to another thread and back may take longer
    than a small network.

    It handles a lost device as `BatchExecutor` does.
    """

    def __init__(
        self,
        runner: BatchRunner[Model, Item, Answer],
        *,
        on_death: Callable[[], None],
        error_delay_s: float = ERROR_DELAY_S,
    ) -> None:
        self._runner, self._on_death, self._error_delay_s = runner, on_death, error_delay_s
        #: By thread: when its current input started, on the monotonic clock.
        self._started: dict[int, float] = {}
        self._dead = False

    def run(self, key: BatchKey[Model], item: Item) -> Answer:
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
            self._die()
            raise DeviceLost(f"the device died: {error!r}") from error
        finally:
            del self._started[thread]

    def _die(self) -> None:
        log.exception("the device is lost")
        self._dead = True
        self._on_death()
        threading.Event().wait(self._error_delay_s)

    def health(self, limit_s: float) -> str | None:
        """Return why the device can't be used any more (lost, or busy with one input for over `limit_s`), or None."""
        if self._dead:
            return "the device is gone"
        return overdue(min(tuple(self._started.values()), default=None), limit_s)
