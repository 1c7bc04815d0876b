"""A `Client` that keeps its jobs in memory, and whose jobs end as the test says."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, cast

from numpy.typing import NDArray

from maskq.producer.client.client import Client
from maskq.producer.client.job import Job
from maskq.producer.client.upload import StoredImage, Upload
from maskq.producer.errors import IdempotencyConflict, MaskqError, QueueFull
from maskq.producer.schema import Failure, JobSpec, Stage, State
from maskq.producer.settings import ClientSettings
from maskq.producer.state.connections import Connections
from maskq.producer.state.ledger import Entered, Identity, NewJob
from maskq.producer.state.stats import Stats
from maskq.producer.state.store import Payload

from .fake_results import Box, describe, encode, paint
from .memory import MemoryLedger


class FakeClient(Client):
    """A client for unit tests: the interface of `Client`, without a broker, Redis or workers.

    Options, limits, idempotency keys and `QueueFull` work as in `Client`. Images are not decoded, and nothing is
    computed that equal jobs could share.
    """

    def __init__(
        self,
        *,
        on_submit: Callable[[FakeClient, Job], object] | None = lambda client, job: client.finish(job),
        settings: ClientSettings | None = None,
        max_wait_s: float = 0.0,
    ) -> None:
        """`on_submit` is called with this client and each new job: by default it finishes the job. With None, jobs
        stay queued until the test ends them.

        `Job.wait` and `submit(timeout=…)` block for `max_wait_s` seconds at most, whatever their timeout: by default a
        wait for an unfinished job raises `WaitTimeout` at once.
        """
        self._settings, self._max_wait_s = settings or ClientSettings(), max_wait_s
        self._ledger, self._on_submit = MemoryLedger(self._settings, max_wait_s), on_submit
        connections = SimpleNamespace(
            ledger=self._ledger,
            store=self._ledger.store,
            check=self._ledger.check,
            unserved=lambda: None,
            close=lambda: None,
        )
        self._connections = cast(Connections, connections)

    @property
    def jobs(self) -> list[Job]:
        """All jobs, oldest first."""
        return [self.job(job_id) for job_id in self._ledger.jobs()]

    def finish(
        self,
        job: Job | str,
        *,
        objects: Iterable[Box] | None = None,
        labels: NDArray[Any] | None = None,
        model: str | None = None,
    ) -> bool:
        """End the job as done. False if it has already ended.

        `objects` are boxes (x, y, width, height) in pixels, each a rectangle in the labels; by default there is one in
        the image's centre. Alternatively, `labels` are (H, W) integers: 0 is background, else an object's id. The
        result's `model` is by default version 1 of the requested one. Raises `UnknownJob`, and `ValueError` if a box is
        outside the image.
        """
        job = self._job(job)
        status = job.status()
        if status.state.ended:
            return False
        labels = paint(job.image(), objects, status.spec.options.axes) if labels is None else labels
        name = status.spec.model
        result = describe(labels, model or (name if "@" in name else f"{name}@1"))
        self._ledger.store.put(job.id, Payload.LABELS, encode(labels))
        self._ledger.store.put(job.id, Payload.OBJECTS, result.model_dump_json(exclude_defaults=True).encode())
        return self._ledger.move(job.id, State.DONE)

    def fail(self, job: Job | str, type: str = "NotAnImage", message: str = "the image can't be decoded") -> bool:
        """End the job as failed: `Job.wait` raises `JobFailed`. False if it has already ended."""
        return self._end(job, State.FAILED, type, message)

    def expire(self, job: Job | str) -> bool:
        """End the job as expired: `Job.wait` raises `JobExpired`. False if it has already ended."""
        return self._end(job, State.EXPIRED, "JobExpired", "its deadline passed before the stage began")

    def kill(self, job: Job | str, message: str = "gave up after 3 attempts at the embed stage") -> bool:
        """End the job as a dead letter: `Job.wait` raises `JobDead`. False if it has already ended."""
        return self._end(job, State.DEAD, "JobDead", message)

    def start(self, job: Job | str, state: State = State.EMBEDDING) -> bool:
        """Move an unfinished job on to `embedding`, `embedded` or `clustering`. False if it has already ended."""
        if state.ended:
            raise ValueError(f"{state} ends the job: use finish, fail, expire or kill")
        return self._ledger.move(self._job(job).id, state)

    @contextmanager
    def outage(self, error: MaskqError) -> Iterator[None]:
        """While the block runs, every access to the broker raises `error`, such as `BrokerUnavailable("away")`."""
        self._ledger.outage = error
        try:
            yield
        finally:
            self._ledger.outage = None

    def stats(self) -> Stats:
        """Waiting and running jobs. There are no devices."""
        return self._ledger.stats()

    def upload(self, expected: int = 0, client: str = "") -> Upload:
        """As `Client.upload`; all of it stays in memory."""
        return _MemoryUpload(self._connections.store)

    def enqueue(self, image: bytes | StoredImage, spec: JobSpec, *, timeout: float = 0.0, **job: Any) -> Job:
        """As `Client.enqueue`, with a timeout of `max_wait_s` at most."""
        return super().enqueue(image, spec, timeout=min(timeout, self._max_wait_s), **job)

    def _create(
        self, job_id: str, spec: JobSpec, shape: str | None, image: bytes | StoredImage, identity: Identity
    ) -> str:
        assert isinstance(image, bytes)
        created = self._ledger.create(job_id, spec, image, identity)
        if created == job_id and self._on_submit:
            self._on_submit(self, self.job(job_id))
        return created

    def _enter(self, jobs: Sequence[NewJob], timeout: float) -> list[Entered]:
        return super()._enter(jobs, min(timeout, self._max_wait_s))

    def _create_many(self, jobs: Sequence[NewJob]) -> list[Entered]:
        return [self._try_to_create(job) for job in jobs]

    def _try_to_create(self, job: NewJob) -> Entered:
        try:
            return self._create(job.id, job.spec, job.shape, job.image, job.identity)
        except (QueueFull, IdempotencyConflict) as refused:
            return refused

    def _job(self, job: Job | str) -> Job:
        return self.job(job) if isinstance(job, str) else job

    def _end(self, job: Job | str, state: State, type_: str, message: str) -> bool:
        job = self._job(job)
        stage = next((stage for stage in Stage if job.state in (stage.waiting, stage.working)), None)
        return self._ledger.move(job.id, state, Failure(type=type_, message=message, stage=stage))


class _MemoryUpload(Upload):
    def add(self, data: bytes) -> bool:
        super().add(data)
        return False
