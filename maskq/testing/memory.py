"""The state behind a `FakeClient`: a ledger and a payload store in this process's memory."""

import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

from maskq.producer.errors import IdempotencyConflict, MaskqError, PayloadMissing, QueueFull, UnknownJob, WaitTimeout
from maskq.producer.schema import Failure, JobSpec, JobStatus, Stage, State
from maskq.producer.settings import ClientSettings
from maskq.producer.state.ledger import Found, Identity
from maskq.producer.state.routing import QUEUES, VARIED, queue_of
from maskq.producer.state.stats import Queue, Stats
from maskq.producer.state.store import Payload

#: The states of a job that is done, in order.
_PATH = (State.QUEUED, State.EMBEDDING, State.EMBEDDED, State.CLUSTERING, State.DONE)
#: The states of a job that ended without a result.
_FAILED = set(State) - set(_PATH)


@dataclass
class _Record:
    job: JobStatus
    bytes_: int
    #: `Identity.request`, under its idempotency key.
    request: str


class MemoryLedger:
    """The part of `Ledger` that a client uses. Threads may share it."""

    def __init__(self, settings: ClientSettings, max_wait_s: float) -> None:
        self._settings, self._max_wait_s = settings, max_wait_s
        self.store = MemoryStore()
        self._jobs: dict[str, _Record] = {}
        #: Job ids by idempotency key, within its key space.
        self._by_key: dict[str, str] = {}
        self._changed = threading.Condition()
        #: While set, every method raises it.
        self.outage: MaskqError | None = None

    @contextmanager
    def _lock(self) -> Iterator[None]:
        with self._changed:
            if self.outage:
                raise self.outage
            yield

    def _record(self, job_id: str) -> _Record:
        if job_id not in self._jobs:
            raise UnknownJob(f"no job {job_id}: it never was, or its retention time is over")
        return self._jobs[job_id]

    def check(self) -> None:
        """Raise the outage, if there is one."""
        with self._lock():
            return

    def create(self, job_id: str, spec: JobSpec, image: bytes, identity: Identity) -> str:
        """Enter a new job; returns its id, or the id of the job that the key means.

        Raises `QueueFull`, `IdempotencyConflict`.
        """
        with self._lock():
            if existing := self._by_key.get(identity.key or ""):
                if self._record(existing).request != identity.request:
                    raise IdempotencyConflict(f"this idempotency key means job {existing}, which is another request")
                return existing
            self._check_room(spec.client, len(image))
            queued, times = State.QUEUED, {State.QUEUED: time.time()}
            job = JobStatus(id=job_id, state=queued, spec=spec, lane=VARIED, times=times, attempts={})
            self._jobs[job_id] = _Record(job, len(image), identity.request)
            self.store.put(job_id, Payload.IMAGE, image)
            if identity.key:
                self._by_key[identity.key] = job_id
            return job_id

    def _check_room(self, client: str, bytes_: int) -> None:
        unfinished = [record for record in self._jobs.values() if not record.job.state.ended]
        total = sum(record.bytes_ for record in unfinished)
        of_client = sum(record.job.spec.client == client for record in unfinished)
        limits = self._settings
        if len(unfinished) >= limits.max_queued:
            raise QueueFull(f"{len(unfinished):,} jobs are unfinished, the maximum; try again later")
        if unfinished and total + bytes_ > limits.max_queued_bytes:
            raise QueueFull(f"the images of unfinished jobs take {total:,} of {limits.max_queued_bytes:,} bytes")
        if of_client >= limits.max_client_queued:
            raise QueueFull(f"{of_client:,} jobs of this client are unfinished, the maximum; try again later")

    def move(self, job_id: str, state: State, error: Failure | None = None) -> bool:
        """Set the job's state, passing through the states on the way to `done`. False if the job has ended."""
        with self._lock():
            job = self.status(job_id)
            if job.state.ended:
                return False
            path = _PATH[_PATH.index(job.state) + 1 :] if state in _PATH else (state,)
            if state not in path:
                raise ValueError(f"job {job_id} is {job.state} and can't go back to {state}")
            entered = path[: path.index(state) + 1]
            times = job.times | dict.fromkeys(entered, time.time())
            attempts = job.attempts | {s: job.attempts.get(s, 0) + 1 for s in Stage if s.working in entered}
            self._update(job_id, state=state, times=times, attempts=attempts, error=error)
            self._changed.notify_all()
            return True

    def _update(self, job_id: str, **changes: object) -> None:
        record = self._jobs[job_id]
        record.job = record.job.model_copy(update=changes)

    def state(self, job_id: str) -> State:
        """The job's state. Raises `UnknownJob`."""
        with self._lock():
            return self._record(job_id).job.state

    def status(self, job_id: str) -> JobStatus:
        """The job's record. Raises `UnknownJob`."""
        with self._lock():
            return self._record(job_id).job

    def wait_with(
        self, job_id: str, timeout: float | None, reads: Sequence[Payload], *, looked: bool = False
    ) -> tuple[JobStatus, Mapping[Payload, bytes]]:
        """The job once it has ended, or after `timeout` seconds, but never more than the client's `max_wait_s`.

        Returns none of the payloads: they are fetched one by one.
        """
        limit = self._max_wait_s if timeout is None else min(timeout, self._max_wait_s)
        with self._lock():
            self._changed.wait_for(lambda: self._record(job_id).job.state.ended, limit)
            status = self.status(job_id)
        if timeout is None and not status.state.ended:
            raise WaitTimeout(f"job {job_id} is {status.state}; this FakeClient waits for {limit:g} s at most")
        return status, {}

    def gather(self, job_ids: Iterable[str], reads: Sequence[Payload]) -> dict[str, Found]:
        """Those of the jobs that have ended, without payloads."""
        found: dict[str, Found] = {}
        with self._lock():
            for job_id in job_ids:
                try:
                    status = self.status(job_id)
                except UnknownJob as error:
                    found[job_id] = error
                else:
                    found |= {job_id: (status, {})} if status.state.ended else {}
        return found

    def as_ended(
        self, job_ids: Iterable[str], timeout: float | None, reads: Sequence[Payload]
    ) -> Iterator[dict[str, Found]]:
        """Yield the jobs as they end, for `timeout` seconds at most, but never more than the client's `max_wait_s`."""
        left, limit = [*job_ids], self._max_wait_s if timeout is None else min(timeout, self._max_wait_s)
        deadline = time.monotonic() + limit
        while left:
            with self._lock():
                found = self._changed.wait_for(partial(self.gather, left, reads), deadline - time.monotonic())
            left = [job_id for job_id in left if job_id not in found]
            if not found:
                break
            yield found
        if left and timeout is None:
            raise WaitTimeout(f"{len(left):,} jobs have not ended; this FakeClient waits for {limit:g} s at most")

    def cancel(self, job_id: str) -> State:
        """Cancel the job unless it has ended; returns its state. Raises `UnknownJob`."""
        with self._lock():
            record = self._record(job_id)
            if not record.job.state.ended:
                error = Failure(type="JobCancelled", message=f"cancelled while {record.job.state}")
                self.move(job_id, State.CANCELLED, error)
                self.drop_payloads([job_id])
            return record.job.state

    def requeue(self, job_id: str) -> bool:
        """Retry a dead letter from the stage in which it died. False if the job is not a dead letter."""
        with self._lock():
            job = self.status(job_id) if job_id in self._jobs else None
            if job is None or job.state is not State.DEAD:
                return False
            stage = (job.error and job.error.stage) or Stage.EMBED
            times = {state: when for state, when in job.times.items() if state is not State.DEAD}
            self._update(job_id, state=stage.waiting, times=times, attempts=job.attempts | {stage: 0}, error=None)
            return True

    def delete(self, job_id: str) -> bool:
        """Delete an ended job and its payloads. False if it has not ended."""
        with self._lock():
            if job_id in self._jobs and not self.state(job_id).ended:
                return False
            self._jobs.pop(job_id, None)
            self._by_key = {key: value for key, value in self._by_key.items() if value != job_id}
            self.drop_payloads([job_id])
            return True

    def drop_payloads(self, job_ids: Iterable[str]) -> None:
        """Delete everything that is stored of jobs."""
        for job_id in job_ids:
            self.store.drop(job_id)

    def exists(self, job_id: str) -> bool:
        """Whether there is a record of the job."""
        return job_id in self._jobs

    def past_retention(self) -> list[str]:
        """The ended jobs whose retention time is over. They stay until they are deleted."""
        settings, now = self._settings, time.time()
        kept_s = {State.DEAD: settings.dead_retention_s}
        with self._lock():
            ended = [record.job for record in self._jobs.values() if record.job.state.ended]
        return [job.id for job in ended if job.times[job.state] + kept_s.get(job.state, settings.retention_s) <= now]

    def now(self) -> float:
        """Seconds since 1970."""
        return time.time()

    def dead(self) -> Iterator[JobStatus]:
        """The dead letters, oldest submission first."""
        yield from (self.status(job_id) for job_id in self.jobs() if self.state(job_id) is State.DEAD)

    def jobs(self) -> list[str]:
        """The ids of all jobs, oldest first."""
        with self._lock():
            return list(self._jobs)

    def stats(self) -> Stats:
        """The numbers of waiting, running and dead jobs."""
        with self._lock():
            jobs = [record.job for record in self._jobs.values()]
        waiting = {name: [time.time()] for name in QUEUES}
        for job in jobs:
            for stage in Stage:
                if stage.waiting is job.state:
                    waiting[queue_of(stage, VARIED)].append(job.times[job.state])
        return Stats(
            queues={
                name: Queue(waiting=len(since) - 1, oldest_s=round(since[0] - min(since), 3))
                for name, since in waiting.items()
            },
            working=sum(stage.working is job.state for job in jobs for stage in Stage),
            unfinished=sum(not job.state.ended for job in jobs),
            dead=sum(job.state is State.DEAD for job in jobs),
            redis_bytes=0,
            redis_max_bytes=0,
            devices={},
        )


class MemoryStore:
    """A payload store in memory: see `PayloadStore`."""

    def __init__(self) -> None:
        self._payloads: dict[tuple[str, Payload], bytes] = {}

    def put(self, job_id: str, kind: Payload, data: bytes) -> None:
        """Store a payload, replacing the previous one."""
        self._payloads[job_id, kind] = data

    def get(self, job_id: str, kind: Payload) -> bytes:
        """Raises `PayloadMissing`."""
        try:
            return self._payloads[job_id, kind]
        except KeyError:
            raise PayloadMissing(f"job {job_id}: the store has no {kind} of it") from None

    def get_all(self, job_id: str, kinds: Sequence[Payload]) -> tuple[bytes, ...]:
        """Raises `PayloadMissing`."""
        return tuple(self.get(job_id, kind) for kind in kinds)

    def drop(self, job_id: str) -> None:
        """Delete the job's payloads."""
        for kind in Payload:
            self._payloads.pop((job_id, kind), None)

    def jobs(self) -> Iterator[str]:
        """Nothing: payloads never lose their job."""
        return iter(())
