"""The reconciler: what has to happen to jobs without anyone asking for it.

It finds jobs that no message will wake any more and sends them one, tries again what was delayed, ends what is overdue,
and forgets what was kept for long enough.

A message can be lost: kombu's Redis transport pops it before it notes that it did. A worker can die with a stage in
hand. Every worker process runs a reconciler, one at a time under a lock, so the jobs come back as long as any worker
lives.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator
from itertools import chain

from redis import Redis, exceptions

from maskq.producer.state.keys import PREFIX
from maskq.producer.state.ledger import Ledger
from maskq.producer.state.store import Payload, PayloadStore

from .periodic import PeriodicThread

log = logging.getLogger(__name__)

_LOCK = f"{PREFIX}reconciler"
#: What redis raises where the broker is away: then the rest of a round is of no use.
_AWAY = (exceptions.ConnectionError, exceptions.TimeoutError)


class Reconciler:
    """Looks about once a second, in a thread of its own."""

    def __init__(self, redis: Redis, ledger: Ledger, store: PayloadStore, resend_s: float) -> None:
        self._redis, self._ledger, self._store, self._resend_s = redis, ledger, store, resend_s
        self._every_s = min(3.0, ledger.lease_s, resend_s) / 3
        #: When the last round was over, and until when leases that have run out are let be, on the monotonic clock.
        self._seen, self._patient_until = time.monotonic(), 0.0
        self._every = PeriodicThread(self._every_s, self._take_turn, "reconciler", logging.WARNING)

    def start(self) -> None:
        """Run in the background until `stop`, or until the process ends."""
        self._every.start()

    def stop(self) -> None:
        """Look no more."""
        self._every.stop()

    def _take_turn(self) -> None:
        """A round, unless another process has just made one."""
        mine = self._redis.set(_LOCK, "1", nx=True, px=max(int(self._every_s * 900), 1))
        now = time.monotonic()
        if now - self._seen > 2 * self._every_s:  # Redis was away: let the living renew their leases first
            self._patient_until = now + self._ledger.lease_s / 2
        if mine:
            self.look(reclaim=now >= self._patient_until)
        self._seen = time.monotonic()

    def look(self, reclaim: bool = True) -> int:
        """One round; returns how many messages were sent. Without `reclaim`, leases that have run out are let be.

        A step that raises is logged, and the round goes on with the next.
        """
        sent = 0
        lost = _tried(self._ledger.reclaim_lost()) if reclaim else ()
        for job_id in chain(lost, _tried(self._ledger.resend_lost(self._resend_s))):
            log.warning("job %s was lost; sent again", job_id)
            sent += 1
        for job_id in _tried(self._ledger.resume_delayed()):
            log.info("job %s is tried again", job_id)
            sent += 1
        for job_id in _tried(self._ledger.expire_overdue()):
            log.info("job %s has expired", job_id)
        self.sweep()
        return sent

    def sweep(self) -> int:
        """Forget jobs that have been kept for their time, and drop what the store has of them; returns how many."""
        return len(list(_tried(self._forgotten())))

    def _forgotten(self) -> Iterator[str]:
        """The jobs that are forgotten now. What the first of those that can't be raises is raised after the others."""
        failed: Exception | None = None
        for job_id in self._ledger.over():
            try:
                for kind in Payload:
                    self._store.drop(job_id, kind)
                self._ledger.forget(job_id)
            except _AWAY:
                raise
            except Exception as error:
                failed = failed or error
            else:
                yield job_id
        if failed:
            raise failed


def _tried(step: Iterable[str]) -> Iterator[str]:
    """What a step of a round does, as far as it comes."""
    try:
        yield from step
    except _AWAY:
        raise
    except Exception:
        log.exception("reconciler: a step of this round failed")
