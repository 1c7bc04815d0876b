"""What a process does over and over, beside its work."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

log = logging.getLogger(__name__)


class PeriodicThread:
    """Does something every so many seconds, in a daemon thread of its own, from `start` to `stop`."""

    def __init__(self, seconds: float, do: Callable[[], None], name: str, level: int = logging.DEBUG) -> None:
        """What a round raises is logged at `level`, under the thread's `name`; the next one tries again."""
        self._seconds, self._do, self._level = seconds, do, level
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """The first round is now, the others as long after the end of the one before."""
        self._thread.start()

    def stop(self) -> None:
        """No more of it; returns when a round under way is over."""
        self._over.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while True:
            try:
                self._do()
            except Exception as error:  # mostly: the broker is away
                log.log(self._level, "%s: %s", self._thread.name, error)
            if self._over.wait(self._seconds):
                return
