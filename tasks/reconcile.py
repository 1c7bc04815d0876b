"""The reconciler: finds jobs that no message will wake any more, and sends them one.

A message can be lost: kombu's Redis transport pops it before it notes that it did, and a producer can die between
the ledger and the queue. A worker can die with a stage in hand. Every worker process runs a reconciler, one at a time
under a lock, so the jobs come back as long as any worker lives.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Collection, Iterable

from redis import Redis

from producer.broker import CLUSTER_QUEUE, EMBED_QUEUES, Sender, queue_length, queue_of
from producer.contract import Stage
from producer.errors import UnknownJob
from producer.ledger import PREFIX, Ledger

log = logging.getLogger(__name__)

_LOCK = f"{PREFIX}reconciler"
_WAITING = {stage.waiting: stage for stage in Stage}


class Reconciler:
    """Looks every `every_s` seconds, in a thread of its own."""

    def __init__(self, redis: Redis, ledger: Ledger, sender: Sender, resend_s: float) -> None:
        self._redis, self._ledger, self._sender, self._resend_s = redis, ledger, sender, resend_s
        self._every_s = min(ledger.lease_s, resend_s) / 3
        self._over = threading.Event()

    def start(self) -> None:
        """Run in the background until `stop`, or until the process ends."""
        threading.Thread(target=self._run, name="reconciler", daemon=True).start()

    def stop(self) -> None:
        """Look no more."""
        self._over.set()

    def _run(self) -> None:
        while not self._over.wait(self._every_s):
            try:
                if self._redis.set(_LOCK, "1", nx=True, px=max(int(self._every_s * 900), 1)):
                    self.look()
            except Exception as error:  # the broker is away, as redis or kombu tells it; the next round looks again
                log.warning("reconciler: %s", error)

    def look(self) -> int:
        """One round; returns how many messages were sent."""
        queues = (*EMBED_QUEUES, CLUSTER_QUEUE)
        sent = self._send(self._ledger.reclaim_lost(), queues)
        # Where messages wait, a job may just be behind others; where none does, its own is lost.
        empty = [queue for queue in queues if queue_length(self._redis, queue) == 0]
        return sent + self._send(self._ledger.unheard(self._resend_s), empty) if empty else sent

    def _send(self, jobs: Iterable[str], queues: Collection[str]) -> int:
        """Wake workers for those of the jobs that wait in one of the queues."""
        sent = 0
        for job_id in jobs:
            try:
                job = self._ledger.status(job_id)
            except UnknownJob:
                continue
            stage = _WAITING.get(job.state)
            if stage is None or queue_of(stage, job.lane) not in queues:
                continue
            log.warning("job %s was lost while %s; sent to %s again", job_id, job.state, queue_of(stage, job.lane))
            self._sender.send(stage, job)
            sent += 1
        return sent
