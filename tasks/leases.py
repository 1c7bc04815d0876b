"""Leases held by this process: one thread renews them all, and learns which were lost or cancelled."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from maskq.producer.state.ledger import Cancellations, Ledger

log = logging.getLogger(__name__)

#: How long work that was cancelled may go on before its process is killed, where that is how it is stopped, seconds.
_PARTING_S = 1.0
#: How often the news of cancelled jobs is looked at, seconds.
_LOOK_S = 0.2


class LeaseLost(Exception):
    """The stage is no longer this worker's: cancelled, or given to another. What it does for it is for nothing."""


@dataclass
class Lease:
    """A claim on a stage, held while its work goes on."""

    job_id: str
    owner: str
    #: Whether the claim is known to be granted; until then it may be: its answer can be as long as an image.
    granted: bool = False
    #: Since when it is no longer ours, on the monotonic clock.
    lost_since: float | None = field(default=None)

    def lose(self) -> None:
        """Let the work know at its next `check`."""
        self.lost_since = self.lost_since or time.monotonic()


_of_thread = threading.local()


def check() -> None:
    """Between two steps of a stage's work: raises `LeaseLost` where it need not go on."""
    lease: Lease | None = getattr(_of_thread, "lease", None)
    if lease and lease.lost_since is not None:
        raise LeaseLost(lease.job_id)


def held() -> Lease | None:
    """The lease under which this thread works."""
    return getattr(_of_thread, "lease", None)


class LeaseKeeper:
    """Renews what is held, three times in a lease. Safe to make before a fork: the thread starts at the first use.

    With `kill`, work that goes on for more than a second after its lease was lost is ended with its process: for
    processes that work on one job at a time, in code that can't be interrupted.
    """

    def __init__(self, ledger: Ledger, *, kill: bool = False) -> None:
        self._ledger, self._kill = ledger.impatient(ledger.lease_s / 3), kill
        self._held: dict[str, Lease] = {}
        #: Whether this process is about to end, and keeps nothing that it claims.
        self._parting = False
        #: Set where something is held, or may be.
        self._any = threading.Event()
        self._starting = threading.Lock()
        self._pid = 0

    @contextmanager
    def holding(self, job_id: str, owner: str) -> Iterator[Lease]:
        """Keep the owner's lease on the job while the block runs, which claims it and says so by `grant`."""
        self._start()
        before = held()
        lease = self._held[owner] = _of_thread.lease = Lease(job_id, owner)
        self._any.set()
        try:
            yield lease
        finally:
            _of_thread.lease = before
            del self._held[owner]

    def grant(self, lease: Lease) -> None:
        """The claim was granted."""
        lease.granted = True
        if self._parting:  # while all that was held was handed back
            self._hand_back(lease)

    def hand_back(self) -> None:
        """Give up all that is held by this process, and will be, uncounted."""
        self._parting = True
        for lease in self._leases():
            self._hand_back(lease)

    def _hand_back(self, lease: Lease) -> None:
        lease.lose()
        self._ledger.hand_back(lease.job_id, lease.owner)

    def _start(self) -> None:
        with self._starting:
            if self._pid != os.getpid():
                self._pid, self._held, self._any = os.getpid(), {}, threading.Event()
                threading.Thread(target=self._keep, name="leases", daemon=True).start()

    def _keep(self) -> None:
        again = False
        while True:
            self._any.wait()
            try:
                with self._ledger.cancellations() as news:
                    if again:  # what is held may be about to run out
                        self._renew()
                    again = True
                    self._listen_and_renew(news)
            except Exception as error:  # Redis is away, as its client tells it; what is held lasts three rounds
                log.warning("leases: %s", error)
                threading.Event().wait(min(1.0, self._ledger.lease_s / 6))

    def _listen_and_renew(self, news: Cancellations) -> None:
        while True:
            over = time.monotonic() + self._ledger.lease_s / 3
            while (left := over - time.monotonic()) > 0:
                self._take_in(news.wait(min(left, _LOOK_S)))
            self._renew()
            self._any.clear()
            if not self._held:  # nothing to do until there is
                self._any.wait()
            self._any.set()

    def _renew(self) -> None:
        for lease in self._leases():
            granted = lease.granted  # before it is asked
            if lease.lost_since is None and not self._ledger.renew(lease.job_id, lease.owner) and granted:
                lease.lose()

    def _take_in(self, cancelled: str | None) -> None:
        for lease in self._leases():
            if lease.job_id == cancelled:
                lease.lose()
            self._end_overdue(lease)

    def _leases(self) -> list[Lease]:
        return list(self._held.values())

    def _end_overdue(self, lease: Lease) -> None:
        if self._kill and lease.lost_since is not None and time.monotonic() - lease.lost_since > _PARTING_S:
            log.warning("job %s was cancelled while this process worked on it; the process ends", lease.job_id)
            os.kill(os.getpid(), signal.SIGKILL)
