"""One delivery of one message: claim the stage, do its work under a lease, say how it ended.

A message may come twice, late, or for a job that is over: only a claim that the ledger grants is worked on, and only
its owner can finish it. The message itself is acknowledged in every case; what has to run again is sent again, by the
ledger.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Protocol

from maskq.producer.errors import PayloadMissing, StoreFull, UnknownJob
from maskq.producer.schema import Failure, JobStatus, Stage, State
from maskq.producer.state.ledger import Ledger
from maskq.producer.state.store import Payload, PayloadStore
from maskq.producer.state.transactions import Claimed, Desk, Done
from maskq.segmentation.errors import SegmentationError

from . import leases
from .leases import LeaseKeeper
from .shared_lock import SharedLock
from .trace import span

_MOST_DELAY_S = 60.0
#: How long a job waits whose result found no room, seconds, give or take half.
_FULL_S = 2.0


class Work(Protocol):
    """A stage's work."""

    @property
    def reads(self) -> Payload:
        """What it is made of."""
        ...

    def __call__(self, job: JobStatus, read: Callable[[], bytes]) -> Done:
        """Do it for the job, of whose payload `read` gives the bytes. May be done twice, at the same time even."""
        ...


class StageFailed(Exception):
    """The job's own fault: it has failed for good, with a typed error."""


class StageReleased(Exception):
    """The worker's fault: the stage was given back, for another attempt."""


class DeviceUnavailable(RuntimeError):
    """The worker was broken before this job came to it."""


class DeviceFailed(RuntimeError):
    """The worker can't go on, and the job may be what broke it."""


class Delivery:
    """The delivery rules, for one stage in one worker process (and its forks)."""

    def __init__(
        self,
        stage: Stage,
        ledger: Ledger,
        store: PayloadStore,
        work: Work,
        *,
        worker: str = "",
        retry_s: float = 0.0,
        kill: bool = False,
    ) -> None:
        """`worker` is the name that dead letters tell; `retry_s` is the delay before a second attempt, seconds.

        With `kill`, work on a job that was cancelled is ended with its process: see `LeaseKeeper`.
        """
        self._stage, self._ledger, self._work, self._worker = stage, ledger, work, worker
        self._desk, self._retry_s = Desk(ledger, store), retry_s
        self._leases, self._isolation = LeaseKeeper(ledger, kill=kill), SharedLock()

    def __call__(self, job_id: str) -> str:
        """Run the stage if it can be claimed; returns a line for Flower.

        Raises `StageFailed` or `StageReleased` after the ledger has been told.
        """
        owner = f"{random.getrandbits(128):032x}"  # as good as a uuid, and asks no one
        with self._leases.holding(job_id, owner) as lease:
            with span("claim", job=job_id):
                claimed = self._desk.claim(job_id, self._stage, owner, self._worker, self._work.reads)
            if isinstance(claimed, str):
                return f"dropped: the job is {claimed}"
            self._leases.grant(lease)
            return self._in_turn(claimed, owner)

    def hand_back(self) -> None:
        """Give up every stage that this process has in hand, as if it had not been begun: the process will end."""
        self._leases.hand_back()

    def _in_turn(self, claimed: Claimed, owner: str) -> str:
        """Run it together with others, or by itself if it may be what killed a worker."""
        job = claimed.job
        waits = not self._isolation.free(alone=job.suspect)
        if waits:
            self._ledger.pause(job.id, owner, waits=True)
        with self._isolation.alone() if job.suspect else self._isolation.together():
            if waits:
                self._ledger.pause(job.id, owner, waits=False)
            return self._run(claimed, owner)

    def _run(self, claimed: Claimed, owner: str) -> str:
        """Do the work, and tell the ledger that it is done, or what went wrong; returns a line for Flower."""
        job = claimed.job
        try:
            leases.check()
            done = self._work(job, claimed.read)
            with span("finish", job=job.id):
                finished = self._desk.finish(job.id, self._stage, owner, done)
            return done.said if finished else self._too_late(job, done)
        except leases.LeaseLost:
            return self._too_late(job)
        except (SegmentationError, PayloadMissing) as error:
            failure = Failure(type=type(error).__name__, message=str(error), stage=self._stage)
            self._ledger.fail(job.id, owner, failure)
            raise StageFailed(f"{failure.type}: {failure.message}") from error
        except DeviceUnavailable as error:
            self._ledger.hand_back(job.id, owner, 1.0)
            raise StageReleased(str(error)) from error
        except StoreFull as error:  # no attempt of this job's, however often, makes room
            self._ledger.hand_back(job.id, owner, _FULL_S * random.uniform(0.5, 1.5))
            raise StageReleased(str(error)) from error
        except BaseException as error:
            # Celery ends a process whose time is over so; one that is to leave is asked to hand back before.
            ended = isinstance(error, SystemExit)
            said = "it took longer than it may" if ended else f"{type(error).__name__}: {error}"
            broken = isinstance(error, DeviceFailed)
            self._ledger.release(job.id, owner, said, self._delay(job), suspect=broken)
            raise StageReleased(said) from error

    def _delay(self, job: JobStatus) -> float:
        """Seconds until another attempt: twice as many each time, give or take half, a minute at most."""
        seconds = self._retry_s * 2.0 ** (job.attempts[self._stage] - 1)
        return float(min(_MOST_DELAY_S, seconds) * random.uniform(0.5, 1.5))

    def _too_late(self, job: JobStatus, done: Done | None = None) -> str:
        """The stage is no longer this delivery's: cancelled, or given to another. What was `done` is stored, though."""
        try:
            state = self._ledger.state(job.id)
        except UnknownJob:
            state = State.CANCELLED
        if done and state.ended and state not in (State.DONE, State.DEAD):  # a dead letter may be tried again
            self._desk.discard(job.id, done.payloads)
        return f"dropped: the job is {state}"
