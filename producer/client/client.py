"""The client: what a web backend imports. Queue an image, wait for its masks.

    job = Client("redis://localhost").submit("cells.png", model="nuclei")
    result = job.wait(timeout=60)

The result has `labels`, an array, and `objects`.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
import uuid
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from itertools import chain
from typing import Any, Literal, Self, overload

from pydantic import ValidationError

from ..errors import BrokerUnavailable, InvalidJob, JobUnfinished, PayloadMissing, QueueFull, StoreFull, UnknownJob
from ..schema import JobSpec, JobStatus, Limits, Options, State, validation_message
from ..settings import Settings
from ..state.connections import Connections, broker_there
from ..state.stats import Stats, collect
from ..state.store import Payload
from ..state.transactions import Desk
from .image_shape import shape_of
from .job import Job, Result
from .sources import Source, read

#: How long `Client.map` waits before it tries a full queue again, seconds.
_FULL_PAUSE_S = 0.25
#: How long `Client.submit` waits at most.
_LONGEST_PAUSE_S = 2.0
#: A payload is stored before its job is entered; by this age it will not be any more, seconds.
_ORPHAN_S = 3600.0


class Client:
    """Queues images on a broker. Threads may share it; close it, or use it as a context manager."""

    def __init__(self, broker_url: str | None = None, *, settings: Settings | None = None) -> None:
        """`broker_url` goes before `MASKQ_BROKER_URL`; without either it is that of the `maskq up` that runs here.

        The other settings are the environment's or `settings`. Raises `InvalidJob` where there is no broker's URL.
        """
        settings = settings or Settings()
        self._settings = (
            settings.model_copy(update={"broker_url": broker_url}) if broker_url else settings.with_broker()
        )
        self._to = Connections.open(self._settings)
        self._desk = Desk(self._to.ledger, self._to.store)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the connections; jobs go on."""
        self._to.close()

    def check(self) -> None:
        """Raises `BrokerUnavailable` where nothing answers at the broker's address."""
        self._to.check()

    def submit(
        self,
        source: Source,
        *,
        name: str | None = None,
        model: str = "nuclei",
        priority: int = 5,
        client: str = "",
        options: Options | None = None,
        limits: Limits | None = None,
        idempotency_key: str | None = None,
        reuse: bool | None = None,
        timeout: float = 0.0,
    ) -> Job:
        """Queue an image.

        `source` is a path, an image file's bytes, or pixels (H, W) or (H, W, channels). A job that was submitted with
        the same `idempotency_key` by the same `client` is returned as it is, and, unless `reuse` is False (its default
        is `MASKQ_REUSE`), so is one that computes the same: that image, model and options.

        Where the queue is full or the broker is away, waits up to `timeout` seconds for that to change. Raises
        `InvalidJob`, `PayloadTooLarge`, `QueueFull`, `StoreFull`, `BrokerUnavailable`, and `OSError` where the file
        can't be read. Whether it is an image at all is seen by the worker that decodes it, and told by `wait`.
        """
        image, name = read(source, name, self._settings.max_bytes)
        try:
            spec = JobSpec(
                name=name,
                model=model,
                priority=priority,
                client=client,
                options=options or Options(),
                limits=limits or Limits(),
            )
        except ValidationError as error:
            raise InvalidJob(validation_message(error)) from error
        return self.enqueue(image, spec, idempotency_key=idempotency_key, reuse=reuse, timeout=timeout)

    def enqueue(
        self,
        image: bytes,
        spec: JobSpec,
        *,
        idempotency_key: str | None = None,
        reuse: bool | None = None,
        timeout: float = 0.0,
    ) -> Job:
        """Queue an image file's bytes with a validated job specification. `submit` describes the parameters.

        Raises `QueueFull`, `StoreFull`, `BrokerUnavailable`.
        """
        same = _meaning(image, spec) if (self._settings.reuse if reuse is None else reuse) else None
        deadline, job_id, shape = time.monotonic() + timeout, uuid.uuid4().hex, shape_of(image)
        pause = _FULL_PAUSE_S
        while True:
            try:
                with broker_there():
                    entered = self._desk.enter(job_id, spec, shape, image, same=same, key=idempotency_key)
                return Job(entered, self._to)
            except (QueueFull, StoreFull, BrokerUnavailable):
                left = deadline - time.monotonic()
                if left < _FULL_PAUSE_S:
                    raise
                time.sleep(min(pause, left))
                pause = min(2 * pause, _LONGEST_PAUSE_S)  # each time the image goes there in vain

    def job(self, job_id: str) -> Job:
        """The job of that id. Nothing is asked of the broker until you do."""
        return Job(job_id, self._to)

    def stats(self) -> Stats:
        """What waits in the queues, what is worked on, and what the devices have done."""
        return collect(self._to.redis)

    def dead(self, *, reason: str | None = None, older_s: float | None = None) -> list[JobStatus]:
        """The dead letters, the oldest first: those whose error has the words of `reason`, and that died `older_s`
        seconds ago or earlier.
        """
        before = math.inf if older_s is None else self._to.ledger.now() - older_s
        return [
            job
            for job in self._to.ledger.dead()
            if job.times[State.DEAD] <= before
            and (reason or "").lower() in (job.error.message if job.error else "").lower()
        ]

    def requeue(self, job_id: str) -> bool:
        """Try a dead letter once more, from the stage it died in; False where it is none."""
        return self._to.ledger.requeue(job_id)

    def drop(self, job_id: str) -> bool:
        """Forget an ended job and what is stored of it; False where it has not ended."""
        forgotten = self._to.ledger.forget(job_id)
        if forgotten:
            self._drop_payloads(job_id)
        return forgotten

    def gc(self, *, dry_run: bool = False) -> dict[str, int]:
        """Drop what no job needs any more: counts of `jobs` kept for their time, and of `orphans`, payloads without a
        job that are older than an hour. With `dry_run`, only count.
        """
        over, ledger = self._to.ledger.over(), self._to.ledger
        orphans = [job_id for job_id, age_s in self._to.store.jobs() if age_s > _ORPHAN_S and not ledger.knows(job_id)]
        if not dry_run:
            for job_id in over:
                self.drop(job_id)
            for job_id in orphans:
                self._drop_payloads(job_id)
        return {"jobs": len(over), "orphans": len(orphans)}

    def _drop_payloads(self, job_id: str) -> None:
        for kind in Payload:
            self._to.store.drop(job_id, kind)

    @overload
    def map(
        self,
        sources: Iterable[Source],
        *,
        in_flight: int = ...,
        progress: Callable[[int], None] | None = ...,
        errors: Literal["raise"] = ...,
        **job: Any,
    ) -> Generator[Result, None, None]: ...

    @overload
    def map(
        self,
        sources: Iterable[Source],
        *,
        in_flight: int = ...,
        progress: Callable[[int], None] | None = ...,
        errors: Literal["return"],
        **job: Any,
    ) -> Generator[Result | Exception, None, None]: ...

    def map(
        self,
        sources: Iterable[Source],
        *,
        in_flight: int = 32,
        progress: Callable[[int], None] | None = None,
        errors: Literal["raise", "return"] = "raise",
        **job: Any,
    ) -> Generator[Result | Exception, None, None]:
        """The sources' results, in order, with at most `in_flight` jobs unfinished at a time.

        `job` is what `submit` takes. `progress` is called with the number finished after each. An image that can't
        be read or a job that ends without a result raises at its place; with `errors="return"` the error is yielded
        there and the rest goes on. Where the queue is full, it waits until it is not. Closing the iterator cancels
        what is in flight.
        """
        pending: deque[Job | Exception] = deque()
        waiting = iter(sources)
        finished = 0
        try:
            while True:
                waiting = self._fill(pending, waiting, in_flight, job)
                if not pending:
                    return
                outcome = _outcome(pending[0])
                pending.popleft()
                if isinstance(outcome, Exception) and errors == "raise":
                    raise outcome
                finished += 1
                if progress:
                    progress(finished)
                yield outcome
        finally:
            for left in pending:
                if isinstance(left, Job):
                    left.cancel()

    def _fill(
        self, pending: deque[Job | Exception], waiting: Iterator[Source], in_flight: int, job: dict[str, Any]
    ) -> Iterator[Source]:
        """Submit until `in_flight` are pending; returns the sources that are left."""
        while len(pending) < in_flight:
            try:
                source = next(waiting)
            except StopIteration:
                break
            try:
                pending.append(self.submit(source, **job))
            except (InvalidJob, OSError) as error:
                pending.append(error)
            except (QueueFull, StoreFull):  # with jobs of ours or of others: some will end
                waiting = chain([source], waiting)
                if pending:
                    break
                time.sleep(_FULL_PAUSE_S)
        return waiting


def _outcome(job: Job | Exception) -> Result | Exception:
    """The job's result, or why there is none."""
    if isinstance(job, Exception):
        return job
    try:
        return job.wait()
    except (JobUnfinished, PayloadMissing, UnknownJob) as error:
        return error


def _meaning(image: bytes, spec: JobSpec) -> str | None:
    """What the job computes, as a hash; None where it may expire, for then no other should stand on it."""
    if spec.limits.expires_s is not None:
        return None
    asked = {"model": spec.model, "options": spec.options.model_dump(), "limits": spec.limits.model_dump()}
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode() + b"\n" + image).hexdigest()
