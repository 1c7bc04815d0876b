"""One delivery of one message: claim the stage, do its work under a lease, say how it ended.

A message may come twice, late, or for a job that is over: only a claim that the ledger grants is worked on, and only
its owner can finish it. The message itself is acknowledged in every case; what has to run again is sent again, by the
ledger.
"""

from __future__ import annotations

import random
import uuid
from typing import Protocol

from producer.contract import Failure, JobStatus, Stage, State
from producer.errors import PayloadMissing, StoreFull, UnknownJob
from producer.ledger import Ledger
from segmentation.errors import SegmentationError

from . import leases
from .isolation import Isolation
from .leases import LeaseKeeper

_MOST_DELAY_S = 60.0
#: How long a job waits whose result found no room, seconds, give or take half.
_FULL_S = 2.0


class Work(Protocol):
    """A stage's work."""

    def __call__(self, job: JobStatus) -> str:
        """Do it for the job; returns a line for people. May be done twice, at the same time even."""
        ...

    def finished(self, job: JobStatus) -> None:
        """It is done and the ledger knows: drop what only this stage needed."""
        ...

    def discarded(self, job: JobStatus) -> None:
        """The job ended without it: drop what it stored."""
        ...


class StageFailed(Exception):
    """The job's own fault: it has failed for good, with a typed error."""


class StageReleased(Exception):
    """The worker's fault: the stage was given back, for another attempt."""


class WorkerGone(RuntimeError):
    """The worker was broken before this job came to it."""


class WorkerBroken(RuntimeError):
    """The worker can't go on, and the job may be what broke it."""


class Delivery:
    """The delivery rules, for one stage in one worker process (and its forks)."""

    def __init__(
        self, stage: Stage, ledger: Ledger, work: Work, *, worker: str = "", retry_s: float = 0.0, kill: bool = False
    ) -> None:
        """`worker` is the name that dead letters tell; `retry_s` is the delay before a second attempt, seconds.

        With `kill`, work on a job that was cancelled is ended with its process: see `LeaseKeeper`.
        """
        self._stage, self._ledger, self._work, self._worker = stage, ledger, work, worker
        self._retry_s = retry_s
        self._leases, self._isolation = LeaseKeeper(ledger, kill=kill), Isolation()

    def __call__(self, job_id: str) -> str:
        """Run the stage if it can be claimed; returns a line for Flower.

        Raises `StageFailed` or `StageReleased` after the ledger has been told.
        """
        owner = uuid.uuid4().hex
        job = self._ledger.claim(job_id, self._stage, owner, self._worker)
        if isinstance(job, str):
            return f"dropped: the job is {job}"
        with self._leases.holding(job_id, owner):
            waits = not self._isolation.free(alone=job.suspect)
            if waits:
                self._ledger.pause(job_id, owner, waits=True)
            with self._isolation.alone() if job.suspect else self._isolation.together():
                if waits:
                    self._ledger.pause(job_id, owner, waits=False)
                said = self._run(job, owner)
            if said is None or not self._ledger.finish(job_id, self._stage, owner):
                return self._too_late(job)
        self._work.finished(job)
        return said

    def hand_back(self) -> None:
        """Give up every stage that this process has in hand, as if it had not been begun: the process will end."""
        self._leases.hand_back()

    def _run(self, job: JobStatus, owner: str) -> str | None:
        """Do the work, and tell the ledger what went wrong; None where the job is no longer this delivery's."""
        try:
            leases.check()
            return self._work(job)
        except leases.LeaseLost:
            return None
        except (SegmentationError, PayloadMissing) as error:
            failure = Failure(type=type(error).__name__, message=str(error), stage=self._stage)
            self._ledger.fail(job.id, owner, failure)
            raise StageFailed(f"{failure.type}: {failure.message}") from error
        except WorkerGone as error:
            self._ledger.hand_back(job.id, owner, 1.0)
            raise StageReleased(str(error)) from error
        except StoreFull as error:  # no attempt of this job's, however often, makes room
            self._ledger.hand_back(job.id, owner, _FULL_S * random.uniform(0.5, 1.5))
            raise StageReleased(str(error)) from error
        except BaseException as error:
            # Celery ends a process whose time is over so; one that is to leave is asked to hand back before.
            ended = isinstance(error, SystemExit)
            said = "it took longer than it may" if ended else f"{type(error).__name__}: {error}"
            broken = isinstance(error, WorkerBroken)
            self._ledger.release(job.id, owner, said, self._delay(job), suspect=broken)
            raise StageReleased(said) from error

    def _delay(self, job: JobStatus) -> float:
        """Seconds until another attempt: twice as many each time, give or take half, a minute at most."""
        seconds = self._retry_s * 2.0 ** (job.attempts[self._stage] - 1)
        return float(min(_MOST_DELAY_S, seconds) * random.uniform(0.5, 1.5))

    def _too_late(self, job: JobStatus) -> str:
        """The stage is no longer this delivery's: cancelled, or given to another."""
        try:
            state = self._ledger.state(job.id)
        except UnknownJob:
            state = State.CANCELLED
        if state.ended and state not in (State.DONE, State.DEAD):  # a dead letter may be tried again
            self._work.discarded(job)
        return f"dropped: the job is {state}"
