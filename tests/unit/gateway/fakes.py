"""Fakes of the client and the subscriptions, and the gateway's app over them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import httpx
from fastapi import FastAPI

from maskq import JobCancelled, JobDead, JobFailed, JobStatus, ResultNotReady, Settings, State, StoreFull
from maskq.producer.client.upload import StoredImage, Upload
from maskq.producer.errors import MaskqError
from maskq.producer.gateway.app import create_app
from maskq.producer.gateway.errors import GatewayBusy
from maskq.producer.gateway.problems import type_uri
from maskq.producer.schema import JobSpec, MaskObject, Objects, Rle, Stage
from maskq.producer.state.pieces import PieceReader
from maskq.producer.state.stats import Stats
from maskq.producer.state.store import Payload, PayloadStore

JOB = "0123456789abcdef" * 2
HERE = f"/v1/jobs/{JOB}"
MAX_BYTES = 100_000
PNG, TIFF = b"\x89PNG\r\n", b"II*\0"
STATUS = JobStatus(
    id=JOB,
    state=State.DONE,
    spec=JobSpec(name="cells.png"),
    lane="fixed",
    times={State.QUEUED: 1.0, State.EMBEDDING: 2.0, State.EMBEDDED: 3.5, State.CLUSTERING: 4.0, State.DONE: 5.0},
    attempts={Stage.EMBED: 1, Stage.CLUSTER: 1},
)
OBJECT = MaskObject(id=1, score=0.9, bbox=(0, 0, 2, 2), area=4, centroid=(0.5, 0.5), rle=Rle(size=(2, 2), counts="04"))
OBJECTS = (
    Objects(height=2, width=2, model="nuclei@1", objects=(OBJECT,)).model_dump_json(exclude_defaults=True).encode()
)


@dataclass
class FakeJob:
    """A job with the status and files given here; `raises` is the error of its methods."""

    id: str = JOB
    current: JobStatus = STATUS
    file: bytes = PNG
    objects: bytes = OBJECTS
    raises: Exception | None = None
    #: The size of the pieces in which the files are read.
    piece: int = 50_000
    state_after_cancel: State = State.CANCELLED

    def status(self) -> JobStatus:
        if self.raises and not isinstance(self.raises, (JobFailed, JobCancelled, JobDead, ResultNotReady)):
            raise self.raises
        return self.current

    @property
    def state(self) -> State:
        return self.current.state

    def read_labels(self) -> PieceReader:
        return self._read(self.file)

    def read_objects(self) -> PieceReader:
        return self._read(self.objects)

    def _read(self, data: bytes) -> PieceReader:
        if self.raises:
            raise self.raises
        pieces = (data[start : start + self.piece] for start in range(0, len(data), self.piece))
        return PieceReader(len(data), pieces)

    def cancel(self) -> State:
        if self.raises:
            raise self.raises
        return self.state_after_cancel


@dataclass
class FakeWriter:
    """Stores the pieces of one upload; `error` is raised by the second."""

    written: list[bytes]
    error: Exception | None

    def write(self, piece: bytes) -> None:
        if self.error and self.written:
            raise self.error
        self.written.append(piece)

    def finish(self) -> None:
        pass

    def discard(self) -> None:
        self.written.clear()


@dataclass
class FakeStore:
    """The part of a store that uploads use."""

    stored: dict[str, list[bytes]] = field(default_factory=dict)
    error: Exception | None = None
    room: int = 1 << 40

    def check_room(self, size: int) -> None:
        if size > self.room:
            raise StoreFull(f"no room for {size:,} bytes")

    def writer(self, job_id: str, kind: Payload) -> FakeWriter:
        return FakeWriter(self.stored.setdefault(job_id, []), self.error)


@dataclass
class FakeClient:
    """A client that records submissions and the ids of requested jobs."""

    store: FakeStore = field(default_factory=FakeStore)

    current_job: FakeJob = field(default_factory=FakeJob)
    submit_error: Exception | None = None
    broker_error: Exception | None = None
    submitted: list[tuple[bytes, dict[str, Any]]] = field(default_factory=list)
    requested: list[str] = field(default_factory=list)

    def upload(self, expected: int = 0, client: str = "") -> Upload:
        return Upload(cast("PayloadStore", self.store), expected, self.store.check_room)

    def enqueue(
        self,
        image: bytes | StoredImage,
        spec: JobSpec,
        *,
        idempotency_key: str | None = None,
        reuse: bool | None = None,
        sender: str | None = None,
    ) -> FakeJob:
        assert type(spec) is JobSpec
        if isinstance(image, StoredImage):
            image = b"".join(self.store.stored[image.job_id])
        others = {"idempotency_key": idempotency_key, "reuse": reuse, "sender": sender}
        self.submitted.append((image, dict(spec) | others))
        if self.submit_error:
            raise self.submit_error
        return self.current_job

    def job(self, job_id: str) -> FakeJob:
        self.requested.append(job_id)
        return self.current_job

    def stats(self) -> Stats:
        if self.broker_error:
            raise self.broker_error
        return Stats(queues={}, working=0, unfinished=3, dead=0, redis_bytes=1, redis_max_bytes=0, devices={})

    def check(self) -> None:
        if self.broker_error:
            raise self.broker_error


@dataclass
class FakeSubscriptions:
    """Subscriptions that yield once at first, and once after each of `updates` has become the job's status."""

    client: FakeClient
    updates: list[JobStatus] = field(default_factory=list)
    full: bool = False

    @asynccontextmanager
    async def subscribe(self, job_id: str, seconds: float, sender: str) -> AsyncIterator[AsyncIterator[None]]:
        if self.full:
            raise GatewayBusy("256 requests wait")
        yield self._changes()

    async def _changes(self) -> AsyncIterator[None]:
        yield
        for status in self.updates:
            self.client.current_job.current = status
            yield


@dataclass
class Http:
    """An HTTP client of the app, which runs on one event loop."""

    app: FastAPI
    client: FakeClient
    subscriptions: FakeSubscriptions
    run: Callable[[Any], Any]

    def __call__(self, method: str, path: str, **request: Any) -> httpx.Response:
        async def send() -> httpx.Response:
            transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as http:
                return await http.request(method, path, **request)

        response: httpx.Response = self.run(send())
        return response

    def post(self, content: Any = b"image", **request: Any) -> httpx.Response:
        return self("POST", request.pop("path", "/v1/jobs"), content=content, **request)


@contextmanager
def open_http(**settings: Any) -> Iterator[Http]:
    client = FakeClient()
    subscriptions = FakeSubscriptions(client)
    with asyncio.Runner() as runner:
        app = create_app(client, subscriptions, Settings(max_bytes=MAX_BYTES, **settings))  # type: ignore[arg-type]
        yield Http(app, client, subscriptions, runner.run)


def assert_problem(response: httpx.Response, status: int, kind: type[MaskqError] | None) -> dict[str, Any]:
    """Check that the response is a problem of this status and kind; returns its members."""
    assert response.headers["content-type"] == "application/problem+json"
    problem: dict[str, Any] = response.json()
    assert problem.keys() >= {"type", "title", "status", "detail"}
    assert (response.status_code, problem["status"]) == (status, status), problem
    assert problem["type"] == (type_uri(kind) if kind else "about:blank")
    assert problem["title"]
    assert "Traceback" not in response.text
    return problem


MULTIPART = {"content-type": "multipart/form-data; boundary=x"}
PART = b'--x\r\nContent-Disposition: form-data; name="%s"; filename="a"\r\n\r\n%s\r\n'
