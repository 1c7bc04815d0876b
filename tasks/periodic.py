"""Work that a process repeats in the background."""

import logging
import threading
from collections.abc import Callable

log = logging.getLogger(__name__)


class PeriodicThread:
    """A daemon thread that calls a function every `seconds` from `start` to `stop`."""

    def __init__(self, seconds: float, call: Callable[[], None], name: str, level: int = logging.DEBUG) -> None:
        """An exception of the function is logged at `level`, under the thread's `name`; the next round tries again."""
        self._seconds, self._call, self._level = seconds, call, level
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Call the function now, and again `seconds` after the end of each call."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread; returns once a call in progress has returned."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while True:
            try:
                self._call()
            except Exception as error:  # mostly: the broker is away
                log.log(self._level, "%s: %s", self._thread.name, error)
            if self._stopped.wait(self._seconds):
                return
