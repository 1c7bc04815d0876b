"""Calls the hooks for every job that has ended."""

import logging
from collections.abc import Sequence
from contextlib import suppress

from redis import Redis
from redis.exceptions import LockError

from maskq.producer.state.keys import DISPATCHER_LOCK
from maskq.producer.state.ledger import JobEnd, Ledger

from ..periodic import PeriodicThread
from . import HOOKS, Hook

log = logging.getLogger(__name__)

#: Seconds between two rounds.
_INTERVAL_S = 1.0
#: The lock's duration (seconds); it is renewed between rounds. A process that dies in a round delays the next by it.
_LOCK_S = 30.0


class Dispatcher:
    """Reads the outbox about once a second, in a thread of its own; under a lock, one process at a time.

    A round of hooks that takes longer than the lock lasts may overlap with another process's: an end then comes twice.
    """

    def __init__(self, redis: Redis, ledger: Ledger, hooks: Sequence[Hook] = HOOKS) -> None:
        self._redis, self._ledger, self._hooks = redis, ledger, hooks
        self._thread = PeriodicThread(_INTERVAL_S, self._take_turn, "job-ends", logging.WARNING)

    def start(self) -> None:
        """Run in the background until `stop`, or until the process ends."""
        self._thread.start()

    def stop(self) -> None:
        """End the background thread."""
        self._thread.stop()

    def _take_turn(self) -> None:
        lock = self._redis.lock(DISPATCHER_LOCK, timeout=_LOCK_S)
        if not lock.acquire(blocking=False):
            return
        try:
            while self.run_round():
                lock.reacquire()  # raises if another process has it by now: then the rest is that one's
        finally:
            with suppress(LockError):
                lock.release()

    def run_round(self) -> int:
        """Call the hooks for the ends in the outbox and remove them; returns their number."""
        ends = self._ledger.ends()
        for end in ends:
            for hook in self._hooks:
                self._call(hook, end)
        self._ledger.acknowledge(ends)
        return len(ends)

    def _call(self, hook: Hook, end: JobEnd) -> None:
        """Call a hook. Its error is logged and keeps no other hook from its call."""
        try:
            hook(end, self._ledger)
        except Exception:
            log.exception("a hook failed for job %s, which has ended as %s", end.job_id, end.state)
