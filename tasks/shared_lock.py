"""Suspects run alone: a job that was in a worker's hands when it died may be what killed it.

Its second attempt must take none of the others with it, which had the bad luck to be in the same process. So it waits
until the process has nothing else in hand, and the others wait until it is done.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class SharedLock:
    """Threads that run together, and those that run alone. Who wants to run alone goes before who comes later."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._together = 0
        self._alone = False
        self._want_alone = 0

    def free(self, alone: bool) -> bool:
        """Whether one who wants to run `alone`, or together with others, would not have to wait now."""
        with self._changed:
            return not self._alone and not (self._together if alone else self._want_alone)

    @contextmanager
    def together(self) -> Iterator[None]:
        """Run the block beside others."""
        with self._changed:
            self._changed.wait_for(lambda: not self._alone and not self._want_alone)
            self._together += 1
        try:
            yield
        finally:
            with self._changed:
                self._together -= 1
                self._changed.notify_all()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Run the block with no other beside it."""
        with self._changed:
            self._want_alone += 1
            self._changed.wait_for(lambda: not self._alone and not self._together)
            self._want_alone -= 1
            self._alone = True
        try:
            yield
        finally:
            with self._changed:
                self._alone = False
                self._changed.notify_all()
