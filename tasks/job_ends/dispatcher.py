"""Calls the hooks for every job that has ended."""

import logging
from collections.abc import Sequence

from redis import Redis

from maskq.producer.state.keys import DISPATCHER_LOCK
from maskq.producer.state.ledger import JobEnd, Ledger

from ..periodic import PeriodicThread
from . import HOOKS, Hook

log = logging.getLogger(__name__)

#: Seconds between two rounds.
_INTERVAL_S = 1.0
#: The lock is held for at most this long; a process that dies in a round delays the next one by it (milliseconds).
_LOCK_MS = 30_000


class Dispatcher:
    """Reads the outbox about once a second, in a thread of its own; one process at a time does, under a lock."""

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
        if not self._redis.set(DISPATCHER_LOCK, "1", nx=True, px=_LOCK_MS):
            return
        try:
            while self.run_round():
                self._redis.pexpire(DISPATCHER_LOCK, _LOCK_MS)
        finally:
            self._redis.delete(DISPATCHER_LOCK)

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
