"""The reconciler: what has to happen to jobs without anyone asking for it.

It sends a message for each job whose message is lost, returns the jobs of dead workers to their queues, retries delayed
jobs, ends overdue ones and deletes those past their retention time.

A message can be lost: kombu's Redis transport pops it before it records that. A worker can die while it holds a stage.
Every worker process runs a reconciler, one at a time under a lock: jobs come back as long as any worker lives.
"""

import logging
import time
from collections.abc import Iterable, Iterator
from itertools import chain

from redis import Redis, exceptions

from maskq.producer.state.keys import RECONCILER_LOCK
from maskq.producer.state.ledger import Ledger

from .periodic import PeriodicThread

log = logging.getLogger(__name__)

#: redis-py's errors if the broker is away: the rest of a round is of no use then.
_AWAY = (exceptions.ConnectionError, exceptions.TimeoutError)


class Reconciler:
    """Runs a round about once a second, in a thread of its own."""

    def __init__(self, redis: Redis, ledger: Ledger, resend_s: float) -> None:
        """`resend_s` is how long a message may be in a worker's hands before its job is claimed (seconds)."""
        self._redis, self._ledger, self._resend_s = redis, ledger, resend_s
        self._interval_s = min(3.0, ledger.lease_s, resend_s) / 3
        #: The end of the last round, and the end of a grace time for expired leases, on the monotonic clock.
        self._last_round, self._grace_until = time.monotonic(), 0.0
        self._thread = PeriodicThread(self._interval_s, self._take_turn, "reconciler", logging.WARNING)

    def start(self) -> None:
        """Run in the background until `stop`, or until the process ends."""
        self._last_round = time.monotonic()
        self._thread.start()

    def stop(self) -> None:
        """End the background thread."""
        self._thread.stop()

    def _take_turn(self) -> None:
        """Run a round, unless another process has just run one."""
        locked = self._redis.set(RECONCILER_LOCK, "1", nx=True, px=max(int(self._interval_s * 900), 1))
        now = time.monotonic()
        if now - self._last_round > 2 * self._interval_s:  # Redis was away: let live workers renew their leases first
            self._grace_until = now + self._ledger.lease_s / 2
        if locked:
            self.run_round(reclaim=now >= self._grace_until)
        self._last_round = time.monotonic()

    def run_round(self, reclaim: bool = True) -> int:
        """Run one round; returns the number of messages sent. Without `reclaim`, expired leases are left alone.

        An error of one step is logged, and the round continues with the next step.
        """
        sent = 0
        reclaimed = _logged(self._ledger.reclaim_lost()) if reclaim else ()
        for job_id in chain(reclaimed, _logged(self._ledger.resend_lost(self._resend_s))):
            log.warning("job %s was lost; sent again", job_id)
            sent += 1
        for job_id in _logged(self._ledger.resume_delayed()):
            log.info("job %s is tried again", job_id)
            sent += 1
        for job_id in _logged(self._ledger.recount_stacks()):
            log.warning("stack %s waited for planes that have ended or are gone", job_id)
        for job_id in _logged(self._ledger.wake_followers()):
            log.info("job %s no longer waits for an equal one", job_id)
            sent += 1
        for job_id in _logged(self._ledger.shed_images()):
            log.info("the image of job %s was dropped", job_id)
        for job_id in _logged(self._ledger.expire_overdue()):
            log.info("job %s has expired", job_id)
        self.sweep()
        return sent

    def sweep(self) -> int:
        """Delete the jobs past their retention time, with their payloads; returns their number."""
        return len(list(_logged(self._purged())))

    def _purged(self) -> Iterator[str]:
        yield from self._ledger.purge(self._ledger.past_retention())


def _logged(step: Iterable[str]) -> Iterator[str]:
    """The jobs of one step, up to its first error, which is logged."""
    try:
        yield from step
    except _AWAY:
        raise
    except Exception:
        log.exception("reconciler: a step of this round failed")
