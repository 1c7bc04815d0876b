"""Leases held by this process: one thread renews them all."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from redis.exceptions import RedisError

from producer.ledger import Ledger

log = logging.getLogger(__name__)


class LeaseKeeper:
    """Renews what is held, three times in a lease. Safe to make before a fork: the thread starts at the first use."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._held: dict[str, str] = {}
        self._starting = threading.Lock()
        self._pid = 0

    @contextmanager
    def holding(self, job_id: str, owner: str) -> Iterator[None]:
        """Keep the owner's lease on the job while the block runs."""
        self._start()
        self._held[owner] = job_id
        try:
            yield
        finally:
            del self._held[owner]

    def _start(self) -> None:
        with self._starting:
            if self._pid != os.getpid():
                self._pid, self._held = os.getpid(), {}
                threading.Thread(target=self._renew, name="leases", daemon=True).start()

    def _renew(self) -> None:
        pause = threading.Event()
        while not pause.wait(self._ledger.lease_s / 3):
            for owner, job_id in list(self._held.items()):
                try:
                    self._ledger.renew(job_id, owner)
                except RedisError as error:  # the next round tries again; the lease lasts three
                    log.warning("could not renew the lease on job %s: %s", job_id, error)
