"""The client: what a web backend imports. Queue an image, wait for its masks.

    job = Client("redis://localhost").submit("cells.png", model="nuclei")
    result = job.wait(timeout=60)

The result has `labels`, an array, and `objects`.
"""

from __future__ import annotations

import io
import os
import uuid
from collections import deque
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, overload

from pydantic import ValidationError

from .broker import Sender
from .contract import Failure, JobSpec, JobStatus, Limits, MaskObject, Objects, Options, Stage, State, readable
from .errors import (
    BrokerUnavailable,
    InvalidJob,
    JobCancelled,
    JobDead,
    JobExpired,
    JobFailed,
    JobUnfinished,
    PayloadMissing,
    PayloadTooLarge,
    ResultNotReady,
    UnknownJob,
    WaitTimeout,
)
from .lanes import lane_of
from .ledger import Ledger
from .settings import Settings
from .store import Payload, PayloadStore, open_store

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from redis import Redis

#: What can be submitted: a path, an image file's bytes, or pixels (H, W) or (H, W, channels).
Source = "str | os.PathLike[str] | bytes | NDArray[Any]"

_ENDINGS: dict[State, type[JobUnfinished]] = {
    State.FAILED: JobFailed,
    State.CANCELLED: JobCancelled,
    State.EXPIRED: JobExpired,
    State.DEAD: JobDead,
}


@dataclass(frozen=True)
class Connections:
    """What a broker's address opens up: shared by the client and the workers."""

    redis: Redis
    ledger: Ledger
    store: PayloadStore
    sender: Sender

    @classmethod
    def open(cls, settings: Settings) -> Self:
        """Connect lazily to `settings.broker_url`. Raises `InvalidJob` where there is none or it is no URL."""
        from redis import Redis
        from redis.backoff import ExponentialBackoff
        from redis.retry import Retry

        if not settings.broker_url:
            raise InvalidJob("no broker: set MASKQ_BROKER_URL (redis://host:6379/0), or start one with `maskq up`")
        try:
            redis = Redis.from_url(
                settings.broker_url,
                health_check_interval=30,
                socket_connect_timeout=10,
                socket_timeout=60,  # for all of a command: a large image takes its time on a slow line
                retry=Retry(ExponentialBackoff(cap=1, base=0.05), 8),  # a Redis that restarts; from_url has none itself
            )
        except ValueError as error:
            raise InvalidJob(f"MASKQ_BROKER_URL: {error}") from error
        ledger = Ledger(
            redis,
            retention_s=settings.retention_s,
            max_queued=settings.max_queued,
            lease_s=settings.lease_s,
            max_attempts=settings.max_attempts,
        )
        store = open_store(settings.store_url, redis, settings.retention_s)
        return cls(redis, ledger, store, Sender(settings.broker_url, settings.visibility_timeout_s))

    def check(self) -> None:
        """Ask once. Raises `BrokerUnavailable` where nothing answers."""
        from redis.backoff import NoBackoff
        from redis.exceptions import RedisError
        from redis.retry import Retry

        once: Any = self.redis.connection_pool.make_connection()
        once.retry = Retry(NoBackoff(), 0)
        try:
            once.send_command("PING")
            once.read_response()
        except RedisError as error:
            raise BrokerUnavailable(f"the broker does not answer: {error}") from error
        finally:
            once.disconnect()

    def close(self) -> None:
        """Let go of the connections."""
        self.sender.close()
        self.redis.close()


@dataclass(frozen=True)
class Result:
    """A finished job's masks."""

    job: JobStatus
    size: tuple[int, int]
    """Height and width, pixels."""
    model: str
    """The model and its version, `nuclei@1`."""
    objects: tuple[MaskObject, ...]
    label_file: bytes
    """The labels as a file: 16-bit PNG, or 32-bit TIFF beyond 65,535 objects."""

    @cached_property
    def labels(self) -> NDArray[np.int32]:
        """(H, W) int32: 0 is background, else the object's id."""
        import numpy as np
        from PIL import PngImagePlugin, TiffImagePlugin

        # Not `Image.open`, which refuses what is large: this file is our own, and as large as the image that was sent.
        png = self.label_file.startswith(b"\x89PNG")
        kind = PngImagePlugin.PngImageFile if png else TiffImagePlugin.TiffImageFile
        with kind(io.BytesIO(self.label_file)) as image:
            return np.asarray(image).astype(np.int32)


class Job:
    """A submitted job. Only its id matters: `Client.job(id)` makes the same anywhere, at any time."""

    def __init__(self, job_id: str, connections: Connections) -> None:
        self.id = job_id
        self._to = connections

    def __repr__(self) -> str:
        return f"Job({self.id!r})"

    @property
    def state(self) -> State:
        """Where it is now. Raises `UnknownJob`."""
        return self._to.ledger.state(self.id)

    def status(self) -> JobStatus:
        """State, times, attempts, error. Raises `UnknownJob`."""
        return self._to.ledger.status(self.id)

    def wait(self, timeout: float | None = None) -> Result:
        """The result, once it is there.

        Raises `WaitTimeout` after `timeout` seconds, and `JobFailed`, `JobCancelled`, `JobExpired` or `JobDead` where
        the job ended without one.
        """
        state = self._to.ledger.wait(self.id, timeout)
        if not state.ended:
            raise WaitTimeout(f"job {self.id} is {state} after {timeout:g} s; it goes on, wait again or cancel it")
        return self.result()

    def result(self) -> Result:
        """The result of a job that is done. Raises `ResultNotReady`, or as `wait` does."""
        status = self.status()
        if ending := _ENDINGS.get(status.state):
            raise ending(self.id, status.error or Failure(type=ending.__name__, message=f"the job is {status.state}"))
        if status.state is not State.DONE:
            raise ResultNotReady(f"job {self.id} is {status.state}; wait for it")
        found = Objects.model_validate_json(self._to.store.get(self.id, Payload.OBJECTS))
        labels = self._to.store.get(self.id, Payload.LABELS)
        return Result(status, (found.height, found.width), found.model, found.objects, labels)

    def image(self) -> bytes:
        """The image as it was submitted. Raises `PayloadMissing` where it is no longer kept."""
        return self._to.store.get(self.id, Payload.IMAGE)

    def cancel(self) -> State:
        """Cancel it unless it has ended; returns the state it then has. What a worker has in hand is thrown away."""
        state = self._to.ledger.cancel(self.id)
        if state is State.CANCELLED:
            for kind in Payload:
                self._to.store.drop(self.id, kind)
        return state


class Client:
    """Queues images on a broker. Threads may share it; close it, or use it as a context manager."""

    def __init__(self, broker_url: str | None = None, *, settings: Settings | None = None) -> None:
        """`broker_url` goes before `MASKQ_BROKER_URL`; the other settings are the environment's or `settings`."""
        settings = settings or Settings()
        self._settings = settings.model_copy(update={"broker_url": broker_url}) if broker_url else settings
        self._to = Connections.open(self._settings)

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
        source: str | os.PathLike[str] | bytes | NDArray[Any],
        *,
        name: str | None = None,
        model: str = "nuclei",
        priority: int = 5,
        options: Options | None = None,
        limits: Limits | None = None,
    ) -> Job:
        """Queue an image.

        `source` is a path, an image file's bytes, or pixels (H, W) or (H, W, channels). Raises `InvalidJob`,
        `PayloadTooLarge`, `QueueFull`, and `OSError` where the file can't be read. Whether it is an image at all is
        seen by the worker that decodes it, and told by `wait`.
        """
        image, name = _read(source, name, self._settings.max_bytes)
        try:
            spec = JobSpec(
                name=_sayable(name),
                model=model,
                priority=priority,
                options=options or Options(),
                limits=limits or Limits(),
            )
        except ValidationError as error:
            raise InvalidJob(readable(error)) from error
        job_id = uuid.uuid4().hex
        lane = lane_of(self._to.redis, image)
        self._to.store.put(job_id, Payload.IMAGE, image)
        try:
            self._to.ledger.create(job_id, spec, lane)
        except BaseException:
            self._to.store.drop(job_id, Payload.IMAGE)
            raise
        status = JobStatus(id=job_id, state=State.QUEUED, spec=spec, lane=lane, times={}, attempts={})
        self._to.sender.send(Stage.EMBED, status)
        return Job(job_id, self._to)

    def job(self, job_id: str) -> Job:
        """The job of that id. Nothing is asked of the broker until you do."""
        return Job(job_id, self._to)

    @overload
    def map(
        self,
        sources: Iterable[Any],
        *,
        in_flight: int = ...,
        progress: Callable[[int], None] | None = ...,
        errors: Literal["raise"] = ...,
        **job: Any,
    ) -> Generator[Result, None, None]: ...

    @overload
    def map(
        self,
        sources: Iterable[Any],
        *,
        in_flight: int = ...,
        progress: Callable[[int], None] | None = ...,
        errors: Literal["return"],
        **job: Any,
    ) -> Generator[Result | Exception, None, None]: ...

    def map(
        self,
        sources: Iterable[Any],
        *,
        in_flight: int = 32,
        progress: Callable[[int], None] | None = None,
        errors: Literal["raise", "return"] = "raise",
        **job: Any,
    ) -> Generator[Result | Exception, None, None]:
        """The sources' results, in order, with at most `in_flight` jobs unfinished at a time.

        `job` is what `submit` takes. `progress` is called with the number finished after each. An image that can't
        be read or a job that ends without a result raises at its place; with `errors="return"` the error is yielded
        there and the rest goes on. Closing the iterator cancels what is in flight.
        """
        pending: deque[Job | Exception] = deque()
        waiting = iter(sources)
        finished = 0
        try:
            while True:
                while len(pending) < in_flight and (source := next(waiting, None)) is not None:
                    pending.append(self._try_submit(source, job))
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

    def _try_submit(self, source: Any, job: dict[str, Any]) -> Job | Exception:
        try:
            return self.submit(source, **job)
        except (InvalidJob, OSError) as error:
            return error


def _outcome(job: Job | Exception) -> Result | Exception:
    """The job's result, or why there is none."""
    if isinstance(job, Exception):
        return job
    try:
        return job.wait()
    except (JobUnfinished, PayloadMissing, UnknownJob) as error:
        return error


def _sayable(name: str) -> str:
    """The name as JSON and terminals can hold it: a file's may be any bytes."""
    return name.encode("utf-8", "replace").decode()[:255]


def _read(source: str | os.PathLike[str] | bytes | NDArray[Any], name: str | None, max_bytes: int) -> tuple[bytes, str]:
    """The image file's bytes, and its name where none is given."""
    if isinstance(source, str | os.PathLike):
        path = Path(source)
        name = name or path.name
        _check_bytes(path.stat().st_size, name, max_bytes)
        data = path.read_bytes()
    elif isinstance(source, bytes):
        data, name = source, name or "image"
    else:
        data, name = _npy(source), name or "array"
    _check_bytes(len(data), name, max_bytes)
    return data, name


def _check_bytes(size: int, name: str, max_bytes: int) -> None:
    if size > max_bytes:
        raise PayloadTooLarge(f"{name}: {size:,} bytes, over the limit of {max_bytes:,} bytes")


def _npy(pixels: NDArray[Any]) -> bytes:
    import numpy as np

    stream = io.BytesIO()
    try:
        np.save(stream, np.asarray(pixels), allow_pickle=False)
    except ValueError as error:
        raise InvalidJob(f"an array of {np.asarray(pixels).dtype} is no image") from error
    return stream.getvalue()
