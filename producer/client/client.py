"""The client: a web backend queues an image and waits for its masks.

    job = Client("redis://localhost").submit("cells.png", model="nuclei")
    result = job.wait(timeout=60)

The result has `labels`, an array, and `objects`.
"""

import math
import time
import uuid
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from itertools import takewhile
from typing import Any, Literal, Self, overload

from pydantic import ValidationError

from ..errors import (
    BrokerUnavailable,
    InvalidJob,
    JobUnfinished,
    MaskqError,
    PayloadMissing,
    QueueFull,
    StoreFull,
    StoreUnavailable,
    UnknownJob,
    WaitTimeout,
)
from ..schema import JobSpec, JobStatus, Limits, Options, State, validation_message
from ..settings import ClientSettings
from ..state.broker_errors import broker_errors
from ..state.connections import Connections
from ..state.keys import stack_id
from ..state.ledger import Entered, Identity, NewJob
from ..state.stats import Stats, collect
from . import containers
from .arrays import named_axes
from .identity import identify
from .in_flight import InFlight, outcome_of
from .job import RESULT, Job, Result
from .paths import Url
from .remote import read_url
from .requests import Request, Requests
from .sources import Source, read_source, shape_of
from .upload import StoredImage, Upload

#: Back-off while the queue is full, seconds: the first pause, and the longest one of `Client.submit`.
_FIRST_PAUSE_S, _MAX_PAUSE_S = 0.25, 2.0
#: The errors after which a submission is tried again, as long as its timeout allows.
_RETRIED = QueueFull, StoreFull, StoreUnavailable, BrokerUnavailable
#: Payloads older than this without a job are orphans (seconds).
_ORPHAN_S = 3600.0


class Client:
    """A connection to a broker that queues images. Threads may share it. Close it, or use it as a context manager."""

    def __init__(self, broker_url: str | None = None, *, settings: ClientSettings | None = None) -> None:
        """Connect lazily to `broker_url`, else to `MASKQ_BROKER_URL`, else to this user's running `maskq up`.

        All other settings come from `settings`, by default the environment. Raises `InvalidJob` if no URL is found.
        """
        settings = settings or ClientSettings()
        self._settings = (
            settings.model_copy(update={"broker_url": broker_url}) if broker_url else settings.with_broker()
        )
        self._connections = Connections.open(self._settings)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections. Jobs continue."""
        self._connections.close()

    def check(self) -> None:
        """Raise `BrokerUnavailable` if the broker does not answer."""
        self._connections.check()

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
        """Queue an image and return its job.

        `source` is a path or URL, an image file's bytes or the open file, a Pillow image, or an array of (H, W) or
        (H, W, 3) pixels; `options.axes` names other axes. Whole slides, OME-Zarr, CZI, ND2 and LIF are read here, and
        the part that `options` choose is sent. If the same `client` (without one: this host) has submitted a job with
        the same `idempotency_key`, that job is returned. Equal jobs of one client (same image, model and options) are
        computed once, and each gets a copy of the result, unless `reuse` is False; its default is `MASKQ_REUSE`.

        While the queue or store is full or the store or broker is unavailable, retries for `timeout` seconds. Raises
        `InvalidJob`, `PayloadTooLarge`, `IdempotencyConflict`, `QueueFull`, `StoreFull`, `StoreUnavailable`,
        `BrokerUnavailable`, and `OSError` if the file can't be read. Only the worker decodes the image: if it can't,
        `Job.wait` raises `JobFailed`.
        """
        spec = _spec(model, priority, client, options, limits)
        image, name, left = self._read(source, name, spec.options)
        spec = spec.model_copy(update={"name": name, "options": left})
        return self.enqueue(image, spec, idempotency_key=idempotency_key, reuse=reuse, timeout=timeout)

    @overload
    def submit_many(
        self, sources: Iterable[Source], *, errors: Literal["raise"] = ..., timeout: float = ..., **job: Any
    ) -> Generator[Job, None, None]: ...

    @overload
    def submit_many(
        self, sources: Iterable[Source], *, errors: Literal["return"], timeout: float = ..., **job: Any
    ) -> Generator[Job | Exception, None, None]: ...

    def submit_many(
        self,
        sources: Iterable[Source],
        *,
        errors: Literal["raise", "return"] = "raise",
        timeout: float = 0.0,
        **job: Any,
    ) -> Generator[Job | Exception, None, None]:
        """Queue the sources and yield their jobs in order: up to 64 images or 8 MB are sent in a round trip.

        `job` are the keyword arguments of `submit`; `name` and `idempotency_key` may be functions of the source.
        Sources are read as the jobs are asked for. Each is queued as a whole or not at all, whatever becomes of the
        others: if it can't be read or is refused, the error (see `submit`) is raised in its place; with
        `errors="return"` it is yielded instead and the iteration continues. `BrokerUnavailable` and `StoreUnavailable`
        are always raised.

        If the iterator ends early, by an error or because it is closed, the jobs of the round trip that were not
        yielded are deleted, and all that were yielded go on.
        """
        requests = self._requests(sources, job)
        while group := requests.take():
            yield from self._submit_group(group, errors, timeout)

    def _submit_group(
        self, group: Sequence[Request], errors: Literal["raise", "return"], timeout: float
    ) -> Generator[Job | Exception, None, None]:
        """Queue what one round trip takes."""
        new = [request for request in _until_error(group, errors) if isinstance(request, NewJob)]
        entered = dict(zip((job.id for job in new), self._enter(new, timeout), strict=True)) if new else {}
        unknown = {job_id for job_id, created in entered.items() if created == job_id}
        try:
            for request in group:
                outcome = entered[request.id] if isinstance(request, NewJob) else request
                if isinstance(outcome, str):
                    unknown.discard(outcome)
                    yield self.job(outcome)
                elif errors == "raise" or isinstance(outcome, BrokerUnavailable | StoreUnavailable):
                    raise outcome
                else:
                    yield outcome
        finally:
            for job_id in unknown:
                with suppress(MaskqError), broker_errors():
                    self._connections.ledger.cancel(job_id)
                    self._connections.ledger.delete(job_id)

    def _requests(self, sources: Iterable[Source], job: dict[str, Any]) -> Requests:
        """The sources as jobs to submit; `job` are arguments of `submit`. Raises `InvalidJob` if these are invalid."""
        return Requests(sources, self._reader(**{key: value for key, value in job.items() if key != "timeout"}))

    def _reader(
        self,
        *,
        name: str | Callable[[Source], str | None] | None = None,
        model: str = "nuclei",
        priority: int = 5,
        client: str = "",
        options: Options | None = None,
        limits: Limits | None = None,
        idempotency_key: str | Callable[[Source], str | None] | None = None,
        reuse: bool | None = None,
    ) -> Callable[[Source], NewJob]:
        """A function that makes a job of a source."""
        spec = _spec(model, priority, client, options, limits)

        def read(source: Source) -> NewJob:
            key = idempotency_key(source) if callable(idempotency_key) else idempotency_key
            image, named, left = self._read(source, name(source) if callable(name) else name, spec.options)
            its_spec = spec.model_copy(update={"name": named, "options": left})
            identity = self._identify(image, its_spec, key, reuse)
            return NewJob(uuid.uuid4().hex, its_spec, shape_of(image, left.axes), image, identity)

        return read

    def _enter(self, jobs: Sequence[NewJob], timeout: float) -> list[Entered]:
        """Queue the jobs in a round trip; returns each one's id, or why it is refused.

        Those that find no room are tried again for `timeout` seconds, all while the broker is away.
        """
        deadline, pause = time.monotonic() + timeout, _FIRST_PAUSE_S
        entered: dict[str, Entered] = {}
        left = list(jobs)
        while left:
            try:
                entered |= zip((job.id for job in left), self._create_many(left), strict=True)
            except BrokerUnavailable as error:
                entered |= {job.id: error for job in left}
            left = [job for job in left if isinstance(entered[job.id], _RETRIED)]
            remaining = deadline - time.monotonic()
            if remaining < _FIRST_PAUSE_S:
                break
            if left:
                time.sleep(min(pause, remaining))
                pause = min(2 * pause, _MAX_PAUSE_S)
        return [entered[job.id] for job in jobs]

    def _create_many(self, jobs: Sequence[NewJob]) -> Sequence[Entered]:
        """Try once to create the jobs. Raises `BrokerUnavailable`."""
        with self._interruptible([job.id for job in jobs]):
            return self._connections.ledger.create_many(jobs)

    def _read(self, source: Source, name: str | None, options: Options) -> tuple[bytes, str, Options]:
        """The image file to submit, the job's name, and the options that are left for the worker."""
        max_bytes, max_pixels = self._settings.max_bytes, self._settings.max_pixels
        if container := containers.find(source, options, max_bytes):
            found = containers.prepare(container, source, name, options, max_bytes=max_bytes, max_pixels=max_pixels)
            return found.image, found.name, found.options
        if isinstance(source, str) and "://" in source:
            name = name or Url(source).name
            source = read_url(source, max_bytes)
        if options.axes is None and (axes := named_axes(source)):
            options = options.model_copy(update={"axes": axes})
        return *read_source(source, name, max_bytes, options), options

    def upload(self, expected: int = 0, client: str = "") -> Upload:
        """Take an image bit by bit, about `expected` bytes, for a job of `client`: enqueue what its `finish` returns.

        A large image is refused at its first piece if there is no room for it. Only the job itself takes room.
        """
        ledger = self._connections.ledger
        return Upload(self._connections.store, expected, lambda size: ledger.check_room(client, size))

    def enqueue(
        self,
        image: bytes | StoredImage,
        spec: JobSpec,
        *,
        idempotency_key: str | None = None,
        reuse: bool | None = None,
        timeout: float = 0.0,
        sender: str | None = None,
    ) -> Job:
        """Queue an image file's bytes with a validated job specification. See `submit` for the other parameters.

        `sender` is who submits if the job has no `client`, such as a remote address; by default this host. An image of
        `upload` is tried once, whatever the timeout: if it is refused, it is deleted. Raises `IdempotencyConflict`,
        `QueueFull`, `StoreFull`, `StoreUnavailable`, `BrokerUnavailable`.
        """
        identity = self._identify(image, spec, idempotency_key, reuse, sender)
        job_id = image.job_id if isinstance(image, StoredImage) else uuid.uuid4().hex
        deadline, shape = time.monotonic() + timeout, shape_of(image, spec.options.axes)
        pause = _FIRST_PAUSE_S
        while True:
            try:
                created = self._create(job_id, spec, shape, image, identity)
                return Job(created, self._connections)
            except _RETRIED:
                remaining = deadline - time.monotonic()
                if isinstance(image, StoredImage) or remaining < _FIRST_PAUSE_S:
                    raise
                time.sleep(min(pause, remaining))
                pause = min(2 * pause, _MAX_PAUSE_S)  # every attempt sends the whole image

    def _identify(
        self, image: bytes | StoredImage, spec: JobSpec, key: str | None, reuse: bool | None, sender: str | None = None
    ) -> Identity:
        return identify(
            image,
            spec,
            key=key,
            sender=sender,
            reuse=self._settings.reuse if reuse is None else reuse,
            across_clients=self._settings.share_across_clients,
        )

    def _create(
        self, job_id: str, spec: JobSpec, shape: str | None, image: bytes | StoredImage, identity: Identity
    ) -> str:
        """Try once to create the job; returns its id, or the id of the job that the idempotency key means."""
        ledger = self._connections.ledger
        with self._interruptible([job_id]):
            if isinstance(image, StoredImage):
                return ledger.create(job_id, spec, shape, None, identity, stored=image.size)
            return ledger.create(job_id, spec, shape, image, identity)

    @contextmanager
    def _interruptible(self, job_ids: Iterable[str]) -> Iterator[None]:
        """Type the broker's errors. After Ctrl-C, cancel the jobs: they may be queued already, and nobody has them."""
        try:
            with broker_errors():
                yield
        except KeyboardInterrupt:
            for job_id in job_ids:
                with suppress(Exception):
                    self._connections.ledger.cancel(job_id)
            raise

    def job(self, job_id: str) -> Job:
        """The job with this id. Does not access the broker."""
        return Job(job_id, self._connections)

    @broker_errors()
    def stats(self) -> Stats:
        """Waiting and running jobs, and the counters of the devices."""
        return collect(self._connections.redis)

    @broker_errors()
    def dead(self, *, reason: str | None = None, older_s: float | None = None) -> list[JobStatus]:
        """The dead letters, oldest first.

        Optionally only those whose error message contains `reason` (ignoring case) and that died at least `older_s`
        seconds ago.
        """
        before = math.inf if older_s is None else self._connections.ledger.now() - older_s
        return [
            job
            for job in self._connections.ledger.dead()
            if job.times[State.DEAD] <= before
            and (reason or "").lower() in (job.error.message if job.error else "").lower()
        ]

    @broker_errors()
    def requeue(self, job_id: str) -> bool:
        """Retry a dead letter from the stage in which it died. False if the job is not a dead letter."""
        return self._connections.ledger.requeue(job_id)

    @broker_errors()
    def drop(self, job_id: str) -> bool:
        """Delete an ended job and its payloads. False if the job has not ended."""
        return self._connections.ledger.delete(job_id)

    @broker_errors()
    def gc(self, *, dry_run: bool = False) -> dict[str, int]:
        """Delete jobs past their retention time, and orphans: payloads without a job that are older than an hour.

        Returns the number of `jobs` and `orphans`. With `dry_run`, only counts them.
        """
        ledger = self._connections.ledger
        expired = ledger.past_retention()
        store = self._connections.store
        orphans = [
            job_id
            for job_id in store.jobs()
            if not ledger.exists(job_id) and not ledger.exists(stack_id(job_id)) and store.age_s(job_id) > _ORPHAN_S
        ]
        if not dry_run:
            for job_id in expired:
                self.drop(job_id)
            ledger.drop_payloads(orphans)
        return {"jobs": len(expired), "orphans": len(orphans)}

    def as_completed(
        self, jobs: Iterable[Job], *, timeout: float | None = None
    ) -> Generator[tuple[Job, Result | JobUnfinished | PayloadMissing | UnknownJob], None, None]:
        """Yield each job with its result, or with the error instead of it, in the order in which they end.

        One subscription serves all of them, and results that are there come several in a round trip. Keeps waiting
        while the broker is away. Raises `WaitTimeout` if some have not ended within `timeout` seconds; they go on.
        """
        left = {job.id: job for job in jobs}
        with broker_errors():
            for found in self._connections.ledger.as_ended([*left], timeout, RESULT):
                for job_id, one in found.items():
                    job = left.pop(job_id)
                    yield job, outcome_of(job, one)
        if left:
            raise WaitTimeout(f"{len(left):,} jobs have not ended after {timeout:g} s; they go on, wait again")

    @overload
    def map(
        self,
        sources: Iterable[Source],
        *,
        in_flight: int = ...,
        progress: Callable[[int], None] | None = ...,
        watch: Callable[[JobStatus], None] | None = ...,
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
        watch: Callable[[JobStatus], None] | None = ...,
        errors: Literal["return"],
        **job: Any,
    ) -> Generator[Result | Exception, None, None]: ...

    def map(
        self,
        sources: Iterable[Source],
        *,
        in_flight: int = 32,
        progress: Callable[[int], None] | None = None,
        watch: Callable[[JobStatus], None] | None = None,
        errors: Literal["raise", "return"] = "raise",
        **job: Any,
    ) -> Generator[Result | Exception, None, None]:
        """Yield the results of the sources in order, with at most `in_flight` unfinished jobs at a time.

        `job` are the keyword arguments of `submit`. `progress` is called with the number of finished images after each
        one, and `watch` twice a second with the job that is waited for: a stack says how far it is. If an image can't
        be read or a job ends without a result, the error is raised in its place; with `errors="return"` it is yielded
        instead and the iteration continues. While the queue is full, waits. Closing the iterator cancels the jobs in
        flight.
        """
        requests = self._requests(sources, job)
        enter = partial(self._enter, timeout=job.get("timeout", 0.0))
        jobs, finished = InFlight(requests, enter, self._connections, in_flight), 0
        try:
            while jobs.fill():
                outcome = jobs.next(watch)
                if isinstance(outcome, Exception) and errors == "raise":
                    raise outcome
                finished += 1
                if progress:
                    progress(finished)
                yield outcome
        finally:
            jobs.cancel()


def _spec(model: str, priority: int, client: str, options: Options | None, limits: Limits | None) -> JobSpec:
    """Raises `InvalidJob`."""
    try:
        return JobSpec(
            model=model, priority=priority, client=client, options=options or Options(), limits=limits or Limits()
        )
    except ValidationError as error:
        raise InvalidJob(validation_message(error)) from error


def _until_error(group: Sequence[Request], errors: Literal["raise", "return"]) -> Iterable[Request]:
    """What is to be sent: if errors are raised, nothing after the first that can't be read."""
    return takewhile(lambda request: errors == "return" or isinstance(request, NewJob), group)
