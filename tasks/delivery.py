"""One delivery of one message: claim the stage, do its work under a lease, say how it ended.

A message may come twice, late, or for a job that is over: only a claim that the ledger grants is worked on, and only
its owner can finish it. The message itself is acknowledged in every case; what has to run again is sent again, by the
ledger.
"""

from __future__ import annotations

import uuid
from typing import Protocol

from producer.contract import Failure, JobStatus, Stage, State
from producer.errors import PayloadMissing, UnknownJob
from producer.ledger import Ledger
from segmentation.errors import SegmentationError

from .leases import LeaseKeeper


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


class Delivery:
    """The delivery rules, for one stage in one worker process (and its forks)."""

    def __init__(self, stage: Stage, ledger: Ledger, work: Work) -> None:
        self._stage, self._ledger, self._work = stage, ledger, work
        self._leases = LeaseKeeper(ledger)

    def __call__(self, job_id: str) -> str:
        """Run the stage if it can be claimed; returns a line for Flower.

        Raises `StageFailed` or `StageReleased` after the ledger has been told.
        """
        owner = uuid.uuid4().hex
        job = self._ledger.claim(job_id, self._stage, owner)
        if isinstance(job, str):
            return f"dropped: the job is {job}"
        with self._leases.holding(job_id, owner):
            try:
                said = self._work(job)
            except (SegmentationError, PayloadMissing) as error:
                failure = Failure(type=type(error).__name__, message=str(error), stage=self._stage)
                self._ledger.fail(job_id, owner, failure)
                raise StageFailed(f"{failure.type}: {failure.message}") from error
            except BaseException as error:
                self._ledger.release(job_id, owner, f"{type(error).__name__}: {error}")
                raise StageReleased(f"{type(error).__name__}: {error}") from error
            if not self._ledger.finish(job_id, self._stage, owner):
                return self._too_late(job)
        self._work.finished(job)
        return said

    def _too_late(self, job: JobStatus) -> str:
        """The stage is no longer this delivery's: cancelled, or given to another."""
        try:
            state = self._ledger.state(job.id)
        except UnknownJob:
            state = State.CANCELLED
        if state.ended and state is not State.DONE:
            self._work.discarded(job)
        return f"dropped: the job is {state}"
