"""What the gateway answers, over a client that does as it is told: statuses, problems, bounds. No broker, no server."""

from __future__ import annotations

import asyncio
import json
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, Request
from hypothesis import given, settings
from hypothesis import strategies as st
from redis.exceptions import ConnectionError as RedisDown
from typer.testing import CliRunner

from examples.backend.app import refuse
from maskq import (
    BrokerUnavailable,
    Failure,
    InvalidJob,
    JobCancelled,
    JobDead,
    JobExpired,
    JobFailed,
    JobStatus,
    Options,
    PayloadTooLarge,
    QueueFull,
    ResultNotReady,
    Settings,
    State,
    StoreFull,
    UnknownJob,
)
from maskq.cli.app import app as cli
from maskq.producer.errors import MaskqError
from maskq.producer.gateway.app import create_app
from maskq.producer.gateway.errors import GatewayBusy, OtherFormat, UnsupportedMedia, UploadTooSlow
from maskq.producer.gateway.limits.downloads import LOADING, Results
from maskq.producer.gateway.limits.throughput import LEAST_RATE, MinThroughput
from maskq.producer.gateway.limits.uploads import Uploads
from maskq.producer.gateway.problems import type_of
from maskq.producer.gateway.routes.events import StateHistory
from maskq.producer.gateway.schemas import SubmitRequest
from maskq.producer.gateway.server import Server
from maskq.producer.schema import JobSpec, MaskObject, Objects, Rle, Stage
from maskq.producer.state.stats import Stats
from maskq.workers.gateway import LoopWatch

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
OBJECTS = Objects(height=2, width=2, model="nuclei@1", objects=(OBJECT,)).model_dump_json().encode()


@dataclass
class FakeJob:
    """A job that answers as it is told, or raises."""

    id: str = JOB
    answer: JobStatus = STATUS
    file: bytes = PNG
    objects: bytes = OBJECTS
    raises: Exception | None = None
    state_after_cancel: State = State.CANCELLED
    cancelled_by: list[str | None] = field(default_factory=list)

    def status(self) -> JobStatus:
        if self.raises and not isinstance(self.raises, (JobFailed, JobCancelled, JobDead, ResultNotReady)):
            raise self.raises
        return self.answer

    @property
    def state(self) -> State:
        return self.answer.state

    def labels_file(self) -> bytes:
        if self.raises:
            raise self.raises
        return self.file

    def objects_json(self) -> bytes:
        if self.raises:
            raise self.raises
        return self.objects

    def cancel(self, call: str | None = None) -> State:
        if self.raises:
            raise self.raises
        self.cancelled_by.append(call)
        return self.state_after_cancel


@dataclass
class FakeClient:
    """A client that notes what is submitted, and what it is asked for."""

    the_job: FakeJob = field(default_factory=FakeJob)
    refuses: Exception | None = None
    away: Exception | None = None
    submitted: list[tuple[bytes, dict[str, Any]]] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def submit(self, image: bytes, **asked: Any) -> FakeJob:
        self.submitted.append((image, asked))
        if self.refuses:
            raise self.refuses
        return self.the_job

    def job(self, job_id: str) -> FakeJob:
        self.asked.append(job_id)
        return self.the_job

    def stats(self) -> Stats:
        if self.away:
            raise self.away
        return Stats(queues={}, working=0, unfinished=3, dead=0, redis_bytes=1, redis_max_bytes=0, devices={})

    def check(self) -> None:
        if self.away:
            raise self.away


@dataclass
class FakeNews:
    """News that come as often as they are wanted, and change the job before each as they are told."""

    client: FakeClient
    then: list[JobStatus] = field(default_factory=list)
    full: bool = False

    @asynccontextmanager
    async def of(self, job_id: str, seconds: float) -> AsyncIterator[AsyncIterator[None]]:
        if self.full:
            raise GatewayBusy("256 requests wait")
        yield self._moments()

    async def _moments(self) -> AsyncIterator[None]:
        yield
        for status in self.then:
            self.client.the_job.answer = status
            yield


@dataclass
class Http:
    """The app as a user of HTTP sees it, on one event loop."""

    app: FastAPI
    client: FakeClient
    news: FakeNews
    run: Callable[[Any], Any]

    def __call__(self, method: str, path: str, **request: Any) -> httpx.Response:
        async def ask() -> httpx.Response:
            transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as http:
                return await http.request(method, path, **request)

        answer: httpx.Response = self.run(ask())
        return answer

    def post(self, content: Any = b"image", **request: Any) -> httpx.Response:
        return self("POST", request.pop("path", "/v1/jobs"), content=content, **request)


@contextmanager
def made() -> Iterator[Http]:
    client = FakeClient()
    news = FakeNews(client)
    with asyncio.Runner() as runner:
        app = create_app(client, news, Settings(max_bytes=MAX_BYTES))  # type: ignore[arg-type]
        yield Http(app, client, news, runner.run)


@pytest.fixture
def http() -> Iterator[Http]:
    with made() as http:
        yield http


def refused(answer: httpx.Response, status: int, kind: type[MaskqError] | None) -> dict[str, Any]:
    """The problem that the answer is."""
    assert answer.headers["content-type"] == "application/problem+json"
    said: dict[str, Any] = answer.json()
    assert said.keys() >= {"type", "title", "status", "detail"}
    assert (answer.status_code, said["status"]) == (status, status), said
    assert said["type"] == (type_of(kind) if kind else "about:blank")
    assert said["title"]
    assert "Traceback" not in answer.text
    return said


# Submitting


def test_a_raw_body_is_an_image_and_the_query_says_what_to_do_with_it(http: Http) -> None:
    query = 'model=phase-contrast@2&priority=9&client=lab-7&options={"tta":true}&reuse=false&name=a.png'
    answer = http.post(b"pixels", path=f"/v1/jobs?{query}", headers={"Idempotency-Key": "k1"})
    assert answer.status_code == 202
    ((image, asked),) = http.client.submitted
    assert image == b"pixels"
    assert asked.pop("options") == Options(tta=True)
    assert asked.pop("limits").expires_s is None
    assert asked == {
        "name": "a.png",
        "model": "phase-contrast@2",
        "priority": 9,
        "client": "lab-7",
        "reuse": False,
        "idempotency_key": "k1",
    }
    links = {"self": HERE, "result": f"{HERE}/result", "labels": f"{HERE}/labels", "events": f"{HERE}/events"}
    assert answer.json() == {"job_id": JOB, "state": "done", "links": links}
    assert answer.headers["location"] == HERE


def test_a_form_has_the_image_in_file_and_its_fields_go_before_the_querys(http: Http) -> None:
    files, fields = {"file": ("b.tif", b"pixels" * 1000)}, {"priority": "3", "options": '{"min_pixels": 7}'}
    assert http("POST", "/v1/jobs?priority=8&client=me", files=files, data=fields).status_code == 202
    ((image, asked),) = http.client.submitted
    assert image == b"pixels" * 1000
    assert (asked["name"], asked["priority"], asked["client"]) == ("b.tif", 3, "me")
    assert asked["options"] == Options(min_pixels=7)
    assert asked["reuse"] is None


def test_all_that_a_job_can_be_asked_has_a_field() -> None:
    assert set(SubmitRequest.model_fields) == {*JobSpec.model_fields, "reuse"}


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("priority=10", "priority"),
        ("priority=high", "priority"),
        ("model=No!", "model"),
        ("client=a b", "client"),
        ("options={", "options"),
        ("options=" + "[" * 9000, "options"),
        ("options=[]", "options"),
        ('options={"seed_threshold":3}', "options.seed_threshold"),
        ('options={"depth":3}', "options.depth"),
        ("reuse=perhaps", "reuse"),
        ("callback_url=http://x", "callback_url"),
    ],
)
def test_what_cant_be_asked_for_is_422_and_says_which_field(http: Http, query: str, said: str) -> None:
    detail = refused(http.post(path=f"/v1/jobs?{query}"), 422, InvalidJob)["detail"]
    assert detail.startswith(f"{said}: ")
    name, _, value = query.partition("=")
    form = http("POST", "/v1/jobs", files={"file": ("a.png", b"x")}, data={name: value})
    assert refused(form, 422, InvalidJob)["detail"].startswith(f"{said}: ")
    assert not http.client.submitted


@pytest.mark.parametrize("key", ["", "a b", "ä", "k" * 256])
def test_a_key_that_redis_should_not_see_is_422(http: Http, key: str) -> None:
    refused(http.post(headers=[("Idempotency-Key", key.encode())]), 422, InvalidJob)
    assert not http.client.submitted


MULTIPART = {"content-type": "multipart/form-data; boundary=x"}
PART = b'--x\r\nContent-Disposition: form-data; name="%s"; filename="a"\r\n\r\n%s\r\n'


@pytest.mark.parametrize(
    "request_",
    [
        {"content": b""},
        {"files": {"file": ("a.png", b"")}},
        {"files": {"picture": ("a.png", b"x")}},
        {"files": [("file", ("a.png", b"x")), ("file", ("b.png", b"y"))]},
        {"files": {"file": ("a.png", b"x")}, "data": {"priority": ["1", "2"]}},
        {"files": {"file": ("a.png", b"x")}, "data": {f"f{n}": "" for n in range(17)}},
        {"files": {"file": ("a.png", b"x")}, "data": {"options": "{" + " " * (16 << 10) + "}"}},
        {"content": b"junk", "headers": MULTIPART},
        {"content": b"x", "headers": {"content-type": "multipart/form-data"}},
        {"content": PART % (b"", b"pixels") + b"--x--", "headers": MULTIPART},
        {"content": PART % (b"file", b"pixels"), "headers": MULTIPART},
        {"content": b'--x\r\nContent-Disposition: form-data; name="file"\r\n\r\nx\r\n--x--', "headers": MULTIPART},
    ],
    ids="empty,empty-file,wrong-name,two-files,twice,many,long,junk,no-boundary,no-name,cut-off,no-file".split(","),  # noqa: SIM905
)
def test_a_body_without_exactly_one_image_is_422(http: Http, request_: dict[str, Any]) -> None:
    refused(http("POST", "/v1/jobs", **request_), 422, InvalidJob)
    assert not http.client.submitted
    assert http.app.state.gateway.uploads.held == 0


@settings(deadline=None)  # each makes an app and an event loop of its own
@given(body=st.binary(max_size=400), cut=st.integers(0, 400))
def test_whatever_is_sent_as_a_form_is_answered(body: bytes, cut: int) -> None:
    whole = PART % (b"file", body) + b"--x--\r\n"
    with made() as http:
        answer = http("POST", "/v1/jobs", content=whole[:cut] + body, headers=MULTIPART)
        assert answer.status_code in (202, 422)
        assert http.app.state.gateway.uploads.held == 0


@pytest.mark.parametrize("kind", ["text/plain", "application/json", "application/x-www-form-urlencoded", "images"])
def test_what_no_image_can_be_in_is_415(http: Http, kind: str) -> None:
    refused(http.post(headers={"content-type": kind}), 415, UnsupportedMedia)
    assert not http.client.submitted


@pytest.mark.parametrize("kind", ["image/png", "IMAGE/TIFF; x=y", "application/octet-stream", "application/x-npy"])
def test_what_an_image_can_be_in_is_taken(http: Http, kind: str) -> None:
    assert http.post(headers={"content-type": kind}).status_code == 202


@pytest.mark.parametrize("charset", ["punycode", "undefined", "latin-1", "idna", '"PunyCode"'])
def test_a_form_in_a_charset_that_python_would_decode_is_415(http: Http, charset: str) -> None:
    body = PART % (b"file", b"pixels") + b'--x\r\nContent-Disposition: form-data; name="name"\r\n\r\na-b\r\n--x--'
    headers = {"content-type": f"multipart/form-data; charset={charset}; boundary=x"}
    refused(http.post(body, headers=headers), 415, UnsupportedMedia)
    assert not http.client.submitted
    assert http.app.state.gateway.uploads.held == 0


@pytest.mark.parametrize("charset", ["utf-8", "UTF8", '"utf-8"'])
def test_a_form_may_say_that_it_is_in_utf_8(http: Http, charset: str) -> None:
    body = PART % (b"file", b"pixels") + '--x\r\nContent-Disposition: form-data; name="name"\r\n\r\nä\r\n--x--'.encode()
    headers = {"content-type": f"multipart/form-data; charset={charset}; boundary=x"}
    assert http.post(body, headers=headers).status_code == 202
    assert http.client.submitted[0][1]["name"] == "ä"


def test_a_compressed_body_is_415(http: Http) -> None:
    refused(http.post(headers={"content-encoding": "gzip"}), 415, UnsupportedMedia)


# Bounds


class Sender:
    """A body that is sent in chunks without saying how long it is, and notes how much was taken."""

    def __init__(self, count: int, head: bytes = b"") -> None:
        self.sent, self._count, self._head = 0, count, head

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self._head
        for _ in range(self._count):
            self.sent += 10_000
            yield bytes(10_000)


def test_a_body_that_says_it_is_too_large_is_413(http: Http) -> None:
    detail = refused(http.post(bytes(MAX_BYTES + 1)), 413, PayloadTooLarge)["detail"]
    assert "100,000 bytes" in detail
    assert http.post(bytes(MAX_BYTES)).status_code == 202


@pytest.mark.parametrize("length", [None, "10"], ids=["no length", "a lie"])
def test_a_body_that_turns_out_too_large_is_413_and_not_held(http: Http, length: str | None) -> None:
    headers = {"content-length": length} if length else {}
    held, uploads = [], http.app.state.gateway.uploads
    body = Sender(30)

    async def noting() -> AsyncIterator[bytes]:
        async for chunk in body:
            yield chunk
            held.append(uploads.held)

    refused(http.post(noting(), headers=headers), 413, PayloadTooLarge)
    assert max(held) <= MAX_BYTES + 10_000
    assert uploads.held == 0
    assert not http.client.submitted


def test_a_forms_file_is_bounded_as_well(http: Http) -> None:
    head = (PART % (b"file", b"")).removesuffix(b"\r\n")
    body = Sender(300, head)
    refused(http.post(body, headers=MULTIPART), 413, PayloadTooLarge)
    assert http.app.state.gateway.uploads.held == 0


def test_all_uploads_together_are_bounded(http: Http) -> None:
    uploads = http.app.state.gateway.uploads
    uploads.held = 4 * (MAX_BYTES + (1 << 20))
    answer = http.post(b"one more")
    refused(answer, 503, GatewayBusy)
    assert int(answer.headers["retry-after"]) > 0
    assert uploads.held == 4 * (MAX_BYTES + (1 << 20))


def test_a_body_that_stops_coming_is_408(http: Http) -> None:
    http.app.state.gateway = replace(http.app.state.gateway, uploads=Uploads(MAX_BYTES, idle_s=0.05))

    async def stuck() -> AsyncIterator[bytes]:
        yield b"some"
        await asyncio.sleep(1)

    refused(http.post(stuck()), 408, UploadTooSlow)


def test_a_body_that_trickles_is_408_though_it_never_stops(http: Http) -> None:
    http.app.state.gateway = replace(http.app.state.gateway, uploads=Uploads(MAX_BYTES, idle_s=0.3))
    sent = []

    async def trickle() -> AsyncIterator[bytes]:
        for number in range(100):
            sent.append(number)
            yield b"x"
            await asyncio.sleep(0.05)

    refused(http.post(trickle()), 408, UploadTooSlow)
    assert len(sent) < 20
    assert http.app.state.gateway.uploads.held == 0


def test_a_body_may_take_long_that_comes_fast_enough(http: Http) -> None:
    http.app.state.gateway = replace(http.app.state.gateway, uploads=Uploads(MAX_BYTES, idle_s=0.3))

    async def steady() -> AsyncIterator[bytes]:
        for _ in range(10):
            await asyncio.sleep(0.05)
            yield bytes(10_000)

    assert http.post(steady()).status_code == 202


def test_what_the_gateway_itself_takes_is_not_charged_to_who_sends() -> None:
    async def paced(*waits: float) -> None:
        pace = MinThroughput(0.2)
        for count, seconds in enumerate(waits):
            async with pace.after(count):
                await asyncio.sleep(seconds)
            await asyncio.sleep(0.15)

    asyncio.run(paced(0.01, 0.01, 0.01))
    with pytest.raises(TimeoutError):
        asyncio.run(paced(0.12, 0.12))


def test_who_sends_fast_enough_has_as_long_as_that_takes() -> None:
    async def paced(count: int) -> None:
        pace = MinThroughput(0.2)
        for number in range(3):
            async with pace.after(number * count):
                await asyncio.sleep(0.1)

    asyncio.run(paced(LEAST_RATE // 5))
    with pytest.raises(TimeoutError):
        asyncio.run(paced(1))


def test_a_forms_file_is_gone_when_it_was_submitted(http: Http, monkeypatch: pytest.MonkeyPatch) -> None:
    files = []
    real = tempfile.SpooledTemporaryFile

    def spooled(*args: Any, **kwargs: Any) -> Any:
        files.append(real(*args, **kwargs))
        return files[-1]

    monkeypatch.setattr("starlette.formparsers.SpooledTemporaryFile", spooled)
    assert http("POST", "/v1/jobs", files={"file": ("a.png", b"x")}).status_code == 202
    assert [file.closed for file in files] == [True]


# Errors


@pytest.mark.parametrize(
    ("error", "retry_after"),
    [
        (QueueFull("full", retry_after_s=12.2), "13"),
        (QueueFull("full", retry_after_s=0.01), "1"),
        (StoreFull("no room"), "10"),
        (BrokerUnavailable("nothing at redis:6379"), "5"),
    ],
)
def test_who_should_come_again_is_told_when(http: Http, error: MaskqError, retry_after: str) -> None:
    http.client.refuses = error
    answer = http.post()
    said = refused(answer, error.status, type(error))
    assert answer.headers["retry-after"] == retry_after
    assert "redis:6379" not in said["detail"]


def test_so_is_who_uses_the_example_backend() -> None:
    request = Request({"type": "http"})
    assert refuse(request, QueueFull("full", retry_after_s=12.2)).headers["retry-after"] == "13"
    assert "retry-after" not in refuse(request, UnknownJob("no job")).headers


@pytest.mark.parametrize("path", ["", "/result", "/labels", "/labels.png"])
def test_a_broker_that_is_away_is_503_everywhere(http: Http, path: str) -> None:
    http.client.the_job.raises = RedisDown("Error 111 connecting to redis:6379")
    assert "6379" not in refused(http("GET", HERE + path), 503, BrokerUnavailable)["detail"]
    refused(http("DELETE", HERE), 503, BrokerUnavailable)


def test_what_nobody_foresaw_tells_a_stranger_nothing(http: Http) -> None:
    http.client.refuses = RuntimeError("secret")
    assert "secret" not in str(refused(http.post(), 500, None))


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/nonesuch", 404), ("GET", f"{HERE}/labels.gif", 404), ("PUT", HERE, 405), ("GET", "/v1/jobs", 405)],
)
def test_what_there_is_not_is_a_problem_too(http: Http, method: str, path: str, status: int) -> None:
    answer = http(method, path)
    refused(answer, status, None)
    assert ("allow" in answer.headers) == (status == 405)


@pytest.mark.parametrize("job_id", ["nonesuch", "0" * 31, "0" * 33, "A" * 32, "%00" * 32, "*", "0" * 31 + "%0A"])
@pytest.mark.parametrize("path", ["", "/result", "/labels", "/labels.tif", "/events"])
def test_an_id_of_the_wrong_shape_is_asked_of_no_one(http: Http, job_id: str, path: str) -> None:
    refused(http("GET", f"/v1/jobs/{job_id}{path}"), 404, UnknownJob)
    refused(http("DELETE", f"/v1/jobs/{job_id}"), 404, UnknownJob)
    assert not http.client.asked


@pytest.mark.parametrize("path", [HERE, f"{HERE}/result", f"{HERE}/labels", f"{HERE}/labels.png", f"{HERE}/events"])
def test_a_query_that_means_nothing_is_refused_everywhere(http: Http, path: str) -> None:
    refused(http("GET", f"{path}?verbose=1"), 422, InvalidJob)


# Asking


def test_a_job_tells_where_it_is(http: Http) -> None:
    told = http("GET", HERE).json()
    assert (told["job_id"], told["state"], told["name"], told["error"]) == (JOB, "done", "cells.png", None)
    assert told["timings"] == {"queued": 1.0, "embedding": 1.5, "embedded": 0.5, "clustering": 1.0, "total": 4.0}
    assert told["attempts"] == {"embed": 1, "cluster": 1}
    assert told["links"]["result"] == f"{HERE}/result"


def test_the_result_has_every_object(http: Http) -> None:
    answer = http("GET", f"{HERE}/result")
    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == {
        "job_id": JOB,
        "image": "cells.png",
        "height": 2,
        "width": 2,
        "model": "nuclei@1",
        "timings": STATUS.timings,
        "objects": [OBJECT.model_dump(mode="json")],
    }


def test_objects_that_are_none_are_not_passed_on(http: Http) -> None:
    http.client.the_job.objects = b"[]"
    refused(http("GET", f"{HERE}/result"), 500, None)


@settings(deadline=None, max_examples=30)
@given(size=st.integers(0, 3 * (1 << 16)))
def test_a_result_of_any_size_comes_whole(size: int) -> None:
    with made() as http:
        http.client.the_job.file = file = PNG + bytes(size)
        answer = http("GET", f"{HERE}/labels")
        assert answer.content == file
        assert answer.headers["content-length"] == str(len(file))
        assert http.app.state.gateway.results.held == 0


def test_results_on_their_way_are_bounded_but_one_alone_may_be_of_any_size(http: Http) -> None:
    results = http.app.state.gateway.results
    http.client.the_job.file = PNG + bytes(5 * MAX_BYTES)
    assert http("GET", f"{HERE}/labels").status_code == 200
    results.held = 1
    answer = http("GET", f"{HERE}/labels")
    refused(answer, 503, GatewayBusy)
    assert int(answer.headers["retry-after"]) > 0
    assert http("GET", f"{HERE}/result").status_code == 200, "small ones still pass"
    assert results.held == 1


def test_not_all_results_are_read_from_the_store_at_once(http: Http, monkeypatch: pytest.MonkeyPatch) -> None:
    reading, most = [0], [0]

    def slowly() -> bytes:
        reading[0] += 1
        most[0] = max(most[0], reading[0])
        time.sleep(0.02)
        reading[0] -= 1
        return PNG

    monkeypatch.setattr(http.client.the_job, "labels_file", slowly)

    async def ask(count: int) -> list[httpx.Response]:
        transport = httpx.ASGITransport(http.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as to:
            return await asyncio.gather(*(to.get(f"{HERE}/labels") for _ in range(count)))

    assert [answer.status_code for answer in http.run(ask(4 * LOADING))] == [200] * 4 * LOADING
    assert 1 < most[0] <= LOADING


def test_a_reader_who_stops_reading_is_given_up(http: Http) -> None:
    results = Results(MAX_BYTES, idle_s=0.05)
    http.app.state.gateway = replace(http.app.state.gateway, results=results)
    http.client.the_job.file = PNG + bytes(1 << 18)
    got: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        if len(got) == 3:
            await asyncio.sleep(5)
        got.append(message)

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    path = f"{HERE}/labels"
    scope = {
        "type": "http",
        "method": "GET",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [],
    }
    http.run(http.app(scope, receive, send))  # type: ignore[arg-type]
    assert (len(got), got[-1]["more_body"]) == (3, True)
    assert results.held == 0


def test_the_result_of_a_job_that_is_not_done_is_409(http: Http) -> None:
    http.client.the_job.raises = ResultNotReady("the job is queued; wait for it")
    refused(http("GET", f"{HERE}/result"), 409, ResultNotReady)


def test_a_job_that_ended_without_a_result_says_why(http: Http) -> None:
    failure = Failure(type="TruncatedImage", message="cells.png: it ends early", stage=Stage.EMBED)
    http.client.the_job.raises = JobFailed(JOB, failure)
    said = refused(http("GET", f"{HERE}/result"), 422, JobFailed)
    assert (said["job_id"], said["error"]["type"], said["detail"]) == (JOB, "TruncatedImage", failure.message)


def test_a_result_may_be_waited_for(http: Http) -> None:
    http.client.the_job.answer = STATUS.model_copy(update={"state": State.EMBEDDING})
    http.news.then = [STATUS]
    assert http("GET", f"{HERE}/result?wait=60").json()["job_id"] == JOB
    for wait in ("61", "-1", "nan", "long"):
        refused(http("GET", f"{HERE}/result?wait={wait}"), 422, InvalidJob)


@pytest.mark.parametrize(("file", "kind", "media"), [(PNG, "png", "image/png"), (TIFF, "tif", "image/tiff")])
def test_labels_come_as_the_file_that_they_are(http: Http, file: bytes, kind: str, media: str) -> None:
    http.client.the_job.file = file
    for path in ("labels", f"labels.{kind}"):
        answer = http("GET", f"{HERE}/{path}")
        assert (answer.status_code, answer.headers["content-type"], answer.content) == (200, media, file)
    other = http("GET", f"{HERE}/labels.{'tif' if kind == 'png' else 'png'}")
    assert other.status_code == 404
    assert other.json()["detail"].endswith(f"{HERE}/labels.{kind}")


@pytest.mark.parametrize("host", ["here?x", "here#x", "[", ""])
def test_labels_are_what_the_path_says_whatever_the_host(http: Http, host: str) -> None:
    assert http("GET", f"{HERE}/labels.png", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    ("state", "message", "detail"),
    [
        (State.CANCELLED, "cancelled while embedding", "cancelled while embedding"),
        (State.DONE, None, "nothing was stopped: it had ended before, as done"),
        (
            State.QUEUED,
            None,
            "nothing was stopped: it is queued, and other submissions of the same wait for it; each is cancelled once, "
            "by an Idempotency-Key of its own",
        ),
    ],
)
def test_cancelling_says_what_it_could_stop(http: Http, state: State, message: str | None, detail: str) -> None:
    job = http.client.the_job
    job.state_after_cancel = state
    error = Failure(type="JobCancelled", message=message) if message else None
    job.answer = STATUS.model_copy(update={"state": state, "error": error})
    answer = http("DELETE", HERE)
    assert (answer.status_code, answer.json()) == (200, {"job_id": JOB, "state": state, "detail": detail})


def test_cancelling_is_named_by_its_key_or_else_by_the_address_it_comes_from(http: Http) -> None:
    for headers in ({}, {}, {"Idempotency-Key": "mine"}):
        assert http("DELETE", HERE, headers=headers).status_code == 200
    assert http.client.the_job.cancelled_by == ["127.0.0.1", "127.0.0.1", "mine"]
    refused(http("DELETE", HERE, headers={"Idempotency-Key": "a b"}), 422, InvalidJob)


# Events


def events(answer: httpx.Response) -> list[dict[str, Any]]:
    """The data of every event."""
    assert answer.headers["content-type"].startswith("text/event-stream")
    return [json.loads(line.removeprefix("data: ")) for line in answer.text.splitlines() if line.startswith("data: ")]


def at(state: State, **times: float) -> JobStatus:
    """The job in a state, which it and others were entered at."""
    return STATUS.model_copy(update={"state": state, "times": {State(name): when for name, when in times.items()}})


def test_events_tell_each_state_once_until_the_job_ends(http: Http) -> None:
    http.client.the_job.answer = at(State.QUEUED, queued=1)
    http.news.then = [at(State.QUEUED, queued=1), at(State.EMBEDDED, queued=1, embedding=2, embedded=3.5), STATUS]
    told = events(http("GET", f"{HERE}/events"))
    assert [event["state"] for event in told] == list(STATUS.times)


def test_the_last_event_has_the_error(http: Http) -> None:
    error = Failure(type="NotAnImage", message="not a PNG")
    http.client.the_job.answer = at(State.FAILED, queued=1, failed=2).model_copy(update={"error": error})
    *_, last = events(http("GET", f"{HERE}/events"))
    assert (last["state"], last["error"]["type"], last["time"]) == ("failed", "NotAnImage", 2)


def test_a_browser_that_has_heard_the_end_is_told_not_to_come_again(http: Http) -> None:
    assert http("GET", f"{HERE}/events", headers={"Last-Event-ID": "done"}).status_code == 204
    assert http("GET", f"{HERE}/events", headers={"Last-Event-ID": "queued"}).status_code == 200


def test_too_many_who_wait_are_503(http: Http) -> None:
    http.news.full = True
    for path in ("events", "result?wait=1"):
        answer = http("GET", f"{HERE}/{path}")
        refused(answer, 503, GatewayBusy)
        assert "retry-after" in answer.headers


def test_where_nothing_happens_comments_keep_the_stream_alive(http: Http, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("maskq.producer.gateway.routes.events.HEARTBEAT_S", 0.0)
    http.client.the_job.answer = waiting = at(State.QUEUED, queued=1)
    http.news.then = [waiting, waiting]
    answer = http("GET", f"{HERE}/events")
    assert len(events(answer)) == 1
    assert answer.text.count(": still waiting\n\n") == 3


def test_a_second_attempt_is_told_and_so_is_the_waiting_for_it() -> None:
    story = StateHistory()
    seen = [
        story.new(at(State.EMBEDDING, queued=1, embedding=2)),
        story.new(at(State.QUEUED, queued=1, embedding=2)),
        story.new(at(State.QUEUED, queued=1, embedding=2)),
        story.new(at(State.EMBEDDING, queued=1, embedding=9)),
    ]
    assert seen == [
        [(State.QUEUED, 1), (State.EMBEDDING, 2)],
        [(State.QUEUED, None)],
        [],
        [(State.EMBEDDING, 9)],
    ]


@given(looks=st.lists(st.integers(1, 5), min_size=1))
def test_however_often_one_looks_every_state_is_told_once_and_in_order(looks: list[int]) -> None:
    story, order = StateHistory(), list(STATUS.times)
    told = []
    for number in [*sorted(looks), len(order)]:
        times = {state: STATUS.times[state] for state in order[:number]}
        told += story.new(STATUS.model_copy(update={"state": order[number - 1], "times": times}))
    assert told == list(STATUS.times.items())


# Operation


def test_health_readiness_and_metrics(http: Http) -> None:
    assert http("GET", "/healthz").json() == {"status": "ok"}
    assert http("GET", "/readyz").json() == {"status": "ready"}
    metrics = http("GET", "/metrics")
    assert metrics.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert "maskq_jobs_unfinished 3.0\n" in metrics.text


def test_without_a_broker_it_lives_and_is_not_ready(http: Http) -> None:
    http.client.away = BrokerUnavailable("nothing at redis:6379")
    assert http("GET", "/healthz").status_code == 200
    refused(http("GET", "/readyz"), 503, BrokerUnavailable)
    refused(http("GET", "/metrics"), 503, BrokerUnavailable)


def test_a_broker_that_hangs_is_not_waited_for(http: Http, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("maskq.producer.gateway.routes.health._READY_S", 0.05)
    monkeypatch.setattr(http.client, "check", lambda: time.sleep(0.4))
    refused(http("GET", "/readyz"), 503, BrokerUnavailable)


def test_openapi_tells_of_the_fields_and_the_errors(http: Http) -> None:
    post = http("GET", "/openapi.json").json()["paths"]["/v1/jobs"]["post"]
    assert {"413", "415", "422", "429", "503", "507"} <= set(post["responses"])
    assert {"Idempotency-Key", *SubmitRequest.model_fields} == {parameter["name"] for parameter in post["parameters"]}
    assert set(post["requestBody"]["content"]["multipart/form-data"]["schema"]["properties"]) >= {"file", "model"}
    assert http("GET", "/docs").status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "kind"),
    [
        ("post", "/v1/jobs", GatewayBusy),
        ("get", "/v1/jobs/{job_id}/events", GatewayBusy),
        ("get", "/v1/jobs/{job_id}/result", JobExpired),
        ("get", "/v1/jobs/{job_id}/labels", JobExpired),
        ("get", "/v1/jobs/{job_id}/labels.png", OtherFormat),
        ("get", "/v1/jobs/{job_id}/labels.tif", OtherFormat),
    ],
)
def test_openapi_tells_of_the_errors_that_few_meet(http: Http, method: str, path: str, kind: type[MaskqError]) -> None:
    answers = http("GET", "/openapi.json").json()["paths"][path][method]["responses"]
    assert str(kind.__doc__).partition("\n")[0] in answers[str(kind.status)]["description"]


def test_requests_end_before_who_stops_the_process_loses_patience(http: Http) -> None:
    server = Server(http.app, http.news, Settings(grace_s=10))  # type: ignore[arg-type]
    assert server.config.timeout_graceful_shutdown == 8


def test_an_event_loop_that_stands_still_is_trouble_unless_it_is_to_end(http: Http) -> None:
    server = Server(http.app, http.news, Settings())  # type: ignore[arg-type]
    watch = LoopWatch(server, most=2)
    for _ in range(5):
        http.run(server.on_tick(1))
        assert watch.trouble() is None
    assert [watch.trouble() for _ in range(3)] == [None, None, "its event loop has stood still for 3 s"]
    http.run(server.on_tick(1))
    assert watch.trouble() is None
    server.should_exit = True
    assert not any(watch.trouble() for _ in range(5))


@pytest.mark.parametrize("missing", ["fastapi", "python_multipart", "uvicorn"])
def test_without_the_extra_the_command_says_what_to_install(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("maskq.cli.old_operating.find_spec", lambda name: None if name == missing else object())
    said = CliRunner().invoke(cli, ["serve"])
    assert said.exit_code == 2
    assert (
        said.stderr.strip()
        == f"maskq: this command needs {missing}: pip install 'maskq[gateway]' (or, in a checkout, '.[gateway]')"
    )
