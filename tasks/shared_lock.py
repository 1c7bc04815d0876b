"""A readers-writer lock: many threads share it, or one has it exclusively.

A job that a worker held when it died is a *suspect*: it may be what killed the worker. Its next attempt takes the lock
exclusively, so that no other job is in the process if that dies again.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class SharedLock:
    """A readers-writer lock that prefers writers: once a thread wants it exclusively, later ones wait."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._sharing = 0
        self._exclusive = False
        self._exclusive_waiting = 0

    def free(self, exclusive: bool) -> bool:
        """Whether taking the lock would not block now."""
        with self._changed:
            return not self._exclusive and not (self._sharing if exclusive else self._exclusive_waiting)

    @contextmanager
    def shared(self) -> Iterator[None]:
        """Hold the lock together with others."""
        with self._changed:
            self._changed.wait_for(lambda: not self._exclusive and not self._exclusive_waiting)
            self._sharing += 1
        try:
            yield
        finally:
            with self._changed:
                self._sharing -= 1
                self._changed.notify_all()

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Hold the lock alone."""
        with self._changed:
            self._exclusive_waiting += 1
            self._changed.wait_for(lambda: not self._exclusive and not self._sharing)
            self._exclusive_waiting -= 1
            self._exclusive = True
        try:
            yield
        finally:
            with self._changed:
                self._exclusive = False
                self._changed.notify_all()
