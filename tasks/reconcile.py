"""The reconciler: what has to happen to jobs without anyone asking for it.

It finds jobs that no message will wake any more and sends them one, tries again what was delayed, ends what is overdue,
and forgets what was kept for long enough.

A message can be lost: kombu's Redis transport pops it before it notes that it did. A worker can die with a stage in
hand. Every worker process runs a reconciler, one at a time under a lock, so the jobs come back as long as any worker
lives.
"""

from __future__ import annotations

import logging
import threading
import time
from itertools import chain

from redis import Redis

from producer.broker import PREFIX
from producer.ledger import Ledger
from producer.store import Payload, PayloadStore

log = logging.getLogger(__name__)

_LOCK = f"{PREFIX}reconciler"


class Reconciler:
    """Looks about once a second, in a thread of its own."""

    def __init__(self, redis: Redis, ledger: Ledger, store: PayloadStore, resend_s: float) -> None:
        self._redis, self._ledger, self._store, self._resend_s = redis, ledger, store, resend_s
        self._every_s = min(3.0, ledger.lease_s, resend_s) / 3
        self._over = threading.Event()

    def start(self) -> None:
        """Run in the background until `stop`, or until the process ends."""
        threading.Thread(target=self._run, name="reconciler", daemon=True).start()

    def stop(self) -> None:
        """Look no more."""
        self._over.set()

    def _run(self) -> None:
        seen, patient_until = time.monotonic(), 0.0
        while not self._over.wait(self._every_s):
            try:
                mine = self._redis.set(_LOCK, "1", nx=True, px=max(int(self._every_s * 900), 1))
                now = time.monotonic()
                if now - seen > 2 * self._every_s:  # Redis was away: let the living renew their leases first
                    patient_until = now + self._ledger.lease_s / 2
                if mine:
                    self.look(reclaim=now >= patient_until)
                seen = time.monotonic()
            except Exception as error:  # the broker is away, as redis or kombu tells it; the next round looks again
                log.warning("reconciler: %s", error)

    def look(self, reclaim: bool = True) -> int:
        """One round; returns how many messages were sent. Without `reclaim`, leases that have run out are let be."""
        sent = 0
        lost = self._ledger.reclaim_lost() if reclaim else ()
        for job_id in chain(lost, self._ledger.resend_lost(self._resend_s)):
            log.warning("job %s was lost; sent again", job_id)
            sent += 1
        for job_id in self._ledger.resume_delayed():
            log.info("job %s is tried again", job_id)
            sent += 1
        for job_id in self._ledger.expire_overdue():
            log.info("job %s has expired", job_id)
        self.sweep()
        return sent

    def sweep(self) -> int:
        """Forget jobs that have been kept for their time, and drop what the store has of them; returns how many."""
        over = self._ledger.over()
        for job_id in over:
            for kind in Payload:
                self._store.drop(job_id, kind)
            self._ledger.forget(job_id)
        return len(over)
