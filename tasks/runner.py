"""Runs a stage for one message: claim it, do its work under a lease, record the outcome in the ledger.

A message may come twice, late, or for a job that has ended. Only a granted claim is worked on, and only that claim can
finish the stage. The message is acknowledged in every case: the ledger sends another one if the stage must run again.
"""

import random
from collections.abc import Callable
from typing import NoReturn, Protocol, runtime_checkable

from maskq.producer.errors import PayloadMissing, StoreFull, StoreUnavailable
from maskq.producer.schema import Failure, JobStatus, Stage
from maskq.producer.state.ledger import Claim, Granted, Ledger, Shared, StageResult
from maskq.producer.state.store import Payload
from maskq.segmentation.errors import SegmentationError

from . import leases
from .leases import LeaseKeeper
from .shared_lock import SharedLock
from .trace import span

#: The longest delay before another attempt (seconds).
_MAX_DELAY_S = 60.0
#: The delay of a job whose store is full or away (seconds; the actual one varies by half).
_STORE_S = 2.0
#: The delay of a job that met a device which was already lost (seconds).
_UNAVAILABLE_S = 1.0


class Work(Protocol):
    """The work of a stage."""

    @property
    def reads(self) -> Payload:
        """The payload that the work needs."""
        ...

    def __call__(self, job: JobStatus, read: Callable[[], bytes]) -> StageResult:
        """Do the work for a job; `read` returns the payload. May run twice for one job, even at the same time."""
        ...


@runtime_checkable
class SharedWork(Protocol):
    """Work of which equal jobs can share the result."""

    def digest(self, job: JobStatus) -> str:
        """Identifies, with the job's image and options, the result: what the work depends on besides them."""
        ...


class StageFailed(Exception):
    """The job's own fault: it has failed for good, with a typed error."""


class StageReleased(Exception):
    """The worker's fault: the stage was given back for another attempt."""


class DeviceUnavailable(RuntimeError):
    """The device was lost before this job reached it."""


class DeviceFailed(RuntimeError):
    """The device is lost, and the job may be the cause."""


class StageRunner:
    """Runs one stage in one worker process and its forks."""

    def __init__(
        self,
        stage: Stage,
        ledger: Ledger,
        work: Work,
        *,
        worker: str = "",
        retry_s: float = 0.0,
        kill: bool = False,
    ) -> None:
        """`worker` is the name in a job's history; `retry_s` is the delay before a second attempt (seconds).

        With `kill`, a cancelled job's work is stopped by ending its process: see `LeaseKeeper`.
        """
        self._stage, self._ledger, self._work, self._worker, self._retry_s = stage, ledger, work, worker, retry_s
        #: Suspects take it exclusively, all other jobs share it: a suspect that kills its process takes no other job
        #: with it.
        self._lock = SharedLock()
        self._leases = LeaseKeeper(ledger, kill=kill)

    def __call__(self, job_id: str) -> str:
        """Run the stage if it can be claimed; returns a line for Flower.

        Raises `StageFailed` or `StageReleased` after the ledger has recorded it.
        """
        claim = Claim(job_id, self._stage)
        with self._leases.holding(claim) as lease:
            with span("claim", job=job_id):
                granted = self._ledger.claim(claim, self._work.reads, self._worker)
            if isinstance(granted, str):
                return f"dropped: the job is {granted}"
            self._leases.grant(lease, granted.work)
            return self._in_turn(claim, granted)

    def return_all_to_queue(self) -> None:
        """Return every stage that this process holds to its queue, uncounted: the process is about to end."""
        self._leases.return_all_to_queue()

    def _in_turn(self, claim: Claim, granted: Granted) -> str:
        """Run the job together with others, or alone if it is a suspect."""
        suspect = granted.job.suspect
        waits = not self._lock.free(exclusive=suspect)
        if waits:
            self._ledger.pause(claim, waits=True)
        with self._lock.exclusive() if suspect else self._lock.shared():
            if waits:
                self._ledger.pause(claim, waits=False)
            return self._run(claim, granted)

    def _run(self, claim: Claim, granted: Granted) -> str:
        """Do the work and record its outcome; returns a line for Flower."""
        try:
            leases.check()
            if granted.twin and (line := self._share(claim, granted.job)):
                return line
            result = self._work(granted.job, granted.read)
            with span("finish", job=claim.job_id):
                finished = self._ledger.finish(claim, result)
            return result.summary if finished else self._too_late(claim, result)
        except leases.LeaseLost:
            return self._too_late(claim)
        except BaseException as error:
            self._record(claim, granted.job, error)

    def _share(self, claim: Claim, job: JobStatus) -> str | None:
        """Take an equal job's result, or wait for it; returns a line for Flower, or None if the work has to be done."""
        if not isinstance(self._work, SharedWork):
            return None
        match self._ledger.share(claim, self._work.digest(job)):
            case Shared.COPIED:
                return "has the result of an equal job"
            case Shared.FOLLOWS:
                return "waits for an equal job"
            case Shared.LOST:
                return self._too_late(claim)
            case Shared.COMPUTE:
                return None

    def _record(self, claim: Claim, job: JobStatus, error: BaseException) -> NoReturn:
        """Record in the ledger why the work has no result. Raises `StageFailed` or `StageReleased`."""
        match error:
            case SegmentationError() | PayloadMissing():
                failure = Failure(type=type(error).__name__, message=str(error), stage=self._stage)
                self._ledger.fail(claim, failure)
                raise StageFailed(f"{failure.type}: {failure.message}") from error
            case DeviceUnavailable():
                self._ledger.return_to_queue(claim, _UNAVAILABLE_S)
                raise StageReleased(str(error)) from error
            case StoreFull() | StoreUnavailable():  # another attempt changes nothing: it must not count
                self._ledger.return_to_queue(claim, _STORE_S * random.uniform(0.5, 1.5))
                raise StageReleased(str(error)) from error
        # Celery raises SystemExit in a process whose task exceeds its time limit.
        timed_out = isinstance(error, SystemExit)
        reason = "it took longer than it may" if timed_out else f"{type(error).__name__}: {error}"
        self._ledger.release(claim, reason, self._delay(job), suspect=isinstance(error, DeviceFailed))
        raise StageReleased(reason) from error

    def _delay(self, job: JobStatus) -> float:
        """Exponential back-off: seconds that double with each attempt, up to a minute, and vary by half."""
        seconds = self._retry_s * 2.0 ** (job.attempts[self._stage] - 1)
        return float(min(_MAX_DELAY_S, seconds) * random.uniform(0.5, 1.5))

    def _too_late(self, claim: Claim, result: StageResult | None = None) -> str:
        """The claim no longer holds the stage: the job was cancelled, or another worker has it."""
        return f"dropped: the job is {self._ledger.discard_late(claim, result)}"
