"""The leases that this process holds: one thread renews them all, and learns which are lost or cancelled."""

import logging
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from maskq.producer.state.ledger import Cancellations, Claim, Ledger
from maskq.producer.state.ledger.work import LARGE

log = logging.getLogger(__name__)

#: How long cancelled work may go on before its process is killed, if that is how it is stopped (seconds).
_KILL_AFTER_S = 1.0
#: The interval at which cancellations are read (seconds).
_POLL_S = 0.2


class LeaseLost(Exception):
    """The stage is no longer this worker's: cancelled, or claimed by another worker. Further work on it is wasted."""


@dataclass
class Lease:
    """A claim on a stage while its work goes on."""

    claim: Claim
    ledger: Ledger
    #: The job's work, as far as the ledger knows it: pixels times views.
    work: int = 0
    #: Whether the claim is known to be granted. Until then it may be: the answer can be as long as an image.
    granted: bool = False
    #: Since when the stage is no longer this worker's, on the monotonic clock.
    lost_since: float | None = field(default=None)

    def lose(self) -> None:
        """Let the work stop at its next `check`."""
        self.lost_since = self.lost_since or time.monotonic()


_of_thread = threading.local()


def check() -> None:
    """Between two steps of a stage's work: raises `LeaseLost` if the thread's lease is lost."""
    lease: Lease | None = getattr(_of_thread, "lease", None)
    if lease and lease.lost_since is not None:
        raise LeaseLost(lease.claim.job_id)


def weigh(work: int) -> None:
    """Say how much work the thread's job is: pixels times views.

    Raises `LeaseLost` if the job is large, its submission did not tell, and too many of these are in progress.
    """
    lease = held()
    if lease is None or work < max(2 * lease.work, LARGE[lease.claim.stage]):
        return
    if not lease.ledger.weigh(lease.claim, work):
        lease.lose()
    lease.work = work
    check()


def held() -> Lease | None:
    """The lease under which this thread works."""
    return getattr(_of_thread, "lease", None)


class LeaseKeeper:
    """Renews this process's leases, three times in a lease's duration. It may be created before a fork: the thread
    starts at first use.

    With `kill`, work that goes on for more than a second after its lease was lost is stopped by killing its process:
    for processes with one job at a time, in code that can't be interrupted.
    """

    def __init__(self, ledger: Ledger, *, kill: bool = False) -> None:
        self._ledger, self._kill = ledger.with_timeout(ledger.lease_s / 3), kill
        self._held: dict[str, Lease] = {}
        #: Whether this process is about to end and keeps nothing that it claims.
        self._leaving = False
        #: Set if a lease is held, or may be.
        self._any = threading.Event()
        self._starting = threading.Lock()
        self._pid = 0

    @contextmanager
    def holding(self, claim: Claim) -> Iterator[Lease]:
        """Keep the lease of a claim while the block runs. The block claims, and calls `grant` if that succeeds."""
        self._start()
        before = held()
        lease = self._held[claim.owner] = _of_thread.lease = Lease(claim, self._ledger)
        self._any.set()
        try:
            yield lease
        finally:
            _of_thread.lease = before
            del self._held[claim.owner]

    def grant(self, lease: Lease, work: int) -> None:
        """The claim was granted, for a job of so much work."""
        lease.granted, lease.work = True, work
        if self._leaving:  # granted while everything was returned
            self._return(lease)

    def return_all_to_queue(self) -> None:
        """Return everything that this process holds, or will claim, to its queue, uncounted."""
        self._leaving = True
        for lease in self._leases():
            self._return(lease)

    def _return(self, lease: Lease) -> None:
        lease.lose()
        self._ledger.return_to_queue(lease.claim)

    def _start(self) -> None:
        with self._starting:
            if self._pid != os.getpid():
                self._pid, self._held, self._any = os.getpid(), {}, threading.Event()
                threading.Thread(target=self._keep, name="leases", daemon=True).start()

    def _keep(self) -> None:
        reconnected = False
        while True:
            self._any.wait()
            try:
                with self._ledger.cancellations() as cancellations:
                    if reconnected:  # the leases may be about to run out
                        self._renew()
                    reconnected = True
                    self._listen_and_renew(cancellations)
            except Exception as error:  # Redis is away; leases outlast three rounds
                log.warning("leases: %s", error)
                threading.Event().wait(min(1.0, self._ledger.lease_s / 6))

    def _listen_and_renew(self, cancellations: Cancellations) -> None:
        while True:
            renew_at = time.monotonic() + self._ledger.lease_s / 3
            while (remaining := renew_at - time.monotonic()) > 0:
                self._handle(cancellations.wait(min(remaining, _POLL_S)))
            self._renew()
            self._any.clear()
            if not self._held:
                self._any.wait()
            self._any.set()

    def _renew(self) -> None:
        for lease in self._leases():
            granted = lease.granted  # read before the request
            if lease.lost_since is None and not self._ledger.renew(lease.claim) and granted:
                lease.lose()

    def _handle(self, cancelled: str | None) -> None:
        for lease in self._leases():
            if lease.claim.job_id == cancelled:
                lease.lose()
            self._kill_overdue(lease)

    def _leases(self) -> list[Lease]:
        return list(self._held.values())

    def _kill_overdue(self, lease: Lease) -> None:
        if self._kill and lease.lost_since is not None and time.monotonic() - lease.lost_since > _KILL_AFTER_S:
            log.warning("job %s was cancelled while this process worked on it; the process ends", lease.claim.job_id)
            os.kill(os.getpid(), signal.SIGKILL)
