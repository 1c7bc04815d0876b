"""The gateway over a real Redis and real sockets; the workers' part is played by the ledger itself."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import httpx
import numpy as np
import psutil
import pytest
import uvicorn
from fastapi import FastAPI
from redis import Redis

from maskq import Client, Failure, Settings, State
from maskq.producer.gateway.app import create_app
from maskq.producer.gateway.limits.downloads import Results
from maskq.producer.gateway.server import configured
from maskq.producer.gateway.subscriptions import Subscriptions
from maskq.producer.schema import Objects, Stage
from maskq.producer.state.connections import Connections
from maskq.producer.state.store import Payload
from maskq.workers.local.redis_server import private_redis
from maskq.workers.supervision.supervisor import Supervisor
from tests.conftest import png, until

IMAGE = png(np.zeros((8, 8), np.uint8))
MAX_BYTES = 1_000_000
LISTENERS = 3


class Served:
    """A gateway on a port of its own, and what a worker would do behind it."""

    def __init__(self, port: int, app: FastAPI, news: Subscriptions, settings: Settings) -> None:
        self.http = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=20)
        self.port, self.app, self.news, self.to = port, app, news, Connections.open(settings)

    def submit(self, **query: Any) -> str:
        answer = self.http.post("/v1/jobs", content=IMAGE, params=query)
        assert answer.status_code == 202, answer.text
        job_id: str = answer.json()["job_id"]
        return job_id

    def work(self, job_id: str, *stages: Stage) -> None:
        for stage in stages:
            self.to.ledger.claim(job_id, stage, "worker")
            if stage is Stage.CLUSTER:
                found = Objects(height=8, width=8, model="nuclei@1", objects=())
                self.to.store.put(job_id, Payload.OBJECTS, found.model_dump_json().encode())
                self.to.store.put(job_id, Payload.LABELS, IMAGE)
            self.to.ledger.finish(job_id, stage, "worker")

    def events(self, job_id: str) -> Iterator[dict[str, Any]]:
        """The data of the events as they come."""
        with self.http.stream("GET", f"/v1/jobs/{job_id}/events") as answer:
            assert answer.status_code == 200, answer.read()
            for line in answer.iter_lines():
                if line.startswith("data: "):
                    yield json.loads(line.removeprefix("data: "))


@contextmanager
def serving(settings: Settings) -> Iterator[Served]:
    news = Subscriptions(settings.broker_url or "", most=LISTENERS)
    app = create_app(Client(settings=settings), news, settings)
    server = uvicorn.Server(configured(app, settings))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        served = Served(listener.getsockname()[1], app, news, settings)
        try:
            until(lambda: server.started)
            yield served
        finally:
            news.over = server.should_exit = True
            thread.join(20)
            served.http.close()
            served.to.close()
        assert not thread.is_alive()


@pytest.fixture
def gateway(redis_url: str) -> Iterator[Served]:
    with serving(Settings(broker_url=redis_url, max_bytes=MAX_BYTES, max_client_queued=2)) as served:
        yield served


def test_what_is_submitted_is_queued_and_its_image_kept(gateway: Served) -> None:
    query = {"client": "lab", "priority": 9, "options": '{"min_pixels": 5}', "limits": '{"max_pixels": 64}'}
    job_id = gateway.submit(**query)
    job = gateway.to.ledger.status(job_id)
    assert (job.state, job.spec.client, job.spec.priority) == (State.QUEUED, "lab", 9)
    assert (job.spec.options.min_pixels, job.spec.limits.max_pixels) == (5, 64)
    assert gateway.to.store.get(job_id, Payload.IMAGE) == IMAGE
    assert gateway.http.get(f"/v1/jobs/{job_id}").json()["state"] == "queued"
    assert gateway.http.get(f"/v1/jobs/{job_id}/result").status_code == 409
    assert gateway.http.get(f"/v1/jobs/{'0' * 32}").status_code == 404


def test_the_same_key_gives_the_same_job(gateway: Served) -> None:
    def send(key: str, **query: str) -> str:
        sent = gateway.http.post("/v1/jobs", content=IMAGE, headers={"Idempotency-Key": key}, params=query)
        return str(sent.json()["job_id"])

    assert send("a") == send("a") != send("b")
    assert send("a", client="other") != send("a")


def test_the_same_image_gives_the_same_job_where_that_is_asked_for(gateway: Served) -> None:
    assert gateway.submit(reuse=True) == gateway.submit(reuse=True)
    assert gateway.submit(reuse=False, client="b") != gateway.submit(reuse=True)


def test_a_full_queue_is_429_and_tells_when_to_come_again(gateway: Served) -> None:
    gateway.submit()
    gateway.submit()
    full = gateway.http.post("/v1/jobs", content=IMAGE)
    assert (full.status_code, full.json()["type"]) == (429, "urn:maskq:error:QueueFull")
    assert 1 <= int(full.headers["retry-after"]) <= 60
    assert "2 jobs of this client" in full.json()["detail"]
    gateway.submit(client="another")


def test_events_come_as_the_states_are_entered_and_end_with_the_job(gateway: Served) -> None:
    job_id = gateway.submit()
    told = gateway.events(job_id)
    assert next(told)["state"] == "queued"
    gateway.work(job_id, Stage.EMBED)
    assert [next(told)["state"] for _ in range(2)] == ["embedding", "embedded"]
    gateway.work(job_id, Stage.CLUSTER)
    assert [event["state"] for event in told] == ["clustering", "done"]
    assert [event["state"] for event in gateway.events(job_id)] == [
        "queued",
        "embedding",
        "embedded",
        "clustering",
        "done",
    ]
    until(lambda: gateway.news.listeners == 0)


def test_a_failed_jobs_last_event_has_its_error(gateway: Served) -> None:
    job_id = gateway.submit()
    gateway.to.ledger.claim(job_id, Stage.EMBED, "worker")
    gateway.to.ledger.fail(job_id, "worker", Failure(type="NotAnImage", message="not a PNG"))
    *_, last = gateway.events(job_id)
    assert (last["state"], last["error"]["type"]) == ("failed", "NotAnImage")
    assert gateway.http.get(f"/v1/jobs/{job_id}/result").json()["error"]["type"] == "NotAnImage"


def test_news_come_at_once_and_not_only_when_one_looks_again(gateway: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("maskq.producer.gateway.subscriptions.LOOK_S", 60.0)
    job_id = gateway.submit()
    told = gateway.events(job_id)
    assert next(told)["state"] == "queued"
    until(lambda: gateway.to.redis.pubsub_numsub(f"maskq:job:{job_id}")[0][1] == 1)
    gateway.to.ledger.cancel(job_id)
    assert [event["state"] for event in told] == ["cancelled"]


def test_a_stream_ends_when_its_time_is_over(gateway: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("maskq.producer.gateway.routes.events.MOST_S", 0.3)
    assert [event["state"] for event in gateway.events(gateway.submit())] == ["queued"]
    until(lambda: gateway.news.listeners == 0)


def test_too_many_listeners_are_refused_and_one_who_leaves_makes_room(gateway: Served) -> None:
    job_id = gateway.submit()
    streams = [gateway.events(job_id) for _ in range(LISTENERS)]
    for stream in streams:
        next(stream)
    refused = gateway.http.get(f"/v1/jobs/{job_id}/events")
    assert (refused.status_code, refused.json()["type"]) == (503, "urn:maskq:error:GatewayBusy")
    assert gateway.http.get(f"/v1/jobs/{job_id}/result?wait=1").status_code == 503
    streams.pop().close()  # type: ignore[attr-defined]
    until(lambda: gateway.news.listeners == LISTENERS - 1, 5)
    assert gateway.http.get(f"/v1/jobs/{job_id}/result?wait=0.1").status_code == 409
    for stream in streams:
        stream.close()  # type: ignore[attr-defined]
    until(lambda: gateway.news.listeners == 0, 5)


def test_a_result_that_is_waited_for_comes_when_it_is_there(gateway: Served) -> None:
    job_id = gateway.submit()
    worker = threading.Timer(0.5, gateway.work, (job_id, *Stage))
    worker.start()
    found = gateway.http.get(f"/v1/jobs/{job_id}/result?wait=15")
    worker.join()
    assert (found.status_code, found.json()["model"]) == (200, "nuclei@1")
    assert gateway.http.get(f"/v1/jobs/{job_id}/labels.png").content == IMAGE
    assert gateway.http.get(f"/v1/jobs/{job_id}/labels.tif").status_code == 404


def test_cancelling_ends_the_job_and_drops_its_image(gateway: Served) -> None:
    job_id = gateway.submit()
    for _ in range(2):
        cancelled = gateway.http.delete(f"/v1/jobs/{job_id}").json()
        assert (cancelled["state"], cancelled["detail"]) == ("cancelled", "cancelled while queued")
    assert not gateway.to.redis.exists(f"maskq:payload:{job_id}:image")
    assert gateway.http.get(f"/v1/jobs/{job_id}/result").status_code == 410
    done = gateway.submit()
    gateway.work(done, *Stage)
    assert gateway.http.delete(f"/v1/jobs/{done}").json()["state"] == "done"


def test_who_cancels_again_does_not_cancel_what_another_submitted(gateway: Served) -> None:
    job_id = gateway.submit(reuse=True)
    assert gateway.submit(reuse=True) == job_id
    for _ in range(3):
        assert gateway.http.delete(f"/v1/jobs/{job_id}").json()["state"] == "queued"
    cancelled = gateway.http.delete(f"/v1/jobs/{job_id}", headers={"Idempotency-Key": "another"})
    assert cancelled.status_code == 200, cancelled.text
    assert cancelled.json()["state"] == "cancelled"


def test_a_result_that_nobody_reads_is_not_held_for_ever(gateway: Served) -> None:
    job_id = gateway.submit()
    gateway.work(job_id, *Stage)
    gateway.to.store.put(job_id, Payload.LABELS, file := IMAGE + bytes(32 << 20))
    results = Results(MAX_BYTES, idle_s=1)
    gateway.app.state.gateway = replace(gateway.app.state.gateway, results=results)
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=20) as to:
        to.sendall(f"GET /v1/jobs/{job_id}/labels HTTP/1.1\r\nHost: here\r\n\r\n".encode())
        until(lambda: results.held == len(file))
        until(lambda: results.held == 0, 10)
        until(lambda: not open_to(gateway.port, to), 5)
    assert gateway.http.get(f"/v1/jobs/{job_id}/labels").content == file


def open_to(port: int, to: socket.socket) -> bool:
    """Whether the server's end of a connection is still open."""
    ends = port, to.getsockname()[1]
    found = psutil.Process().net_connections("tcp4")
    return any((c.laddr.port, c.raddr.port) == ends and c.status == "ESTABLISHED" for c in found if c.raddr)


@pytest.fixture
def impatient(gateway: Served, monkeypatch: pytest.MonkeyPatch) -> Served:
    """A gateway that gives up connections on which nothing comes of its waiting after .5 to 1 s."""
    monkeypatch.setattr("maskq.producer.gateway.limits.idle_protocol.IDLE_S", 0.5)
    return gateway


@pytest.mark.parametrize("sent", [b"", b"GET /", b"GET /healthz HTTP/1.1\r\nHost: here\r\nX: "])
@pytest.mark.parametrize("asked", [False, True], ids=["at first", "after a request"])
def test_a_request_that_never_comes_whole_is_not_waited_for(impatient: Served, sent: bytes, asked: bool) -> None:
    with socket.create_connection(("127.0.0.1", impatient.port), timeout=20) as to:
        if asked:
            to.sendall(b"GET /healthz HTTP/1.1\r\nHost: here\r\n\r\n")
            answer = b""
            while not answer.endswith(b'{"status":"ok"}'):
                answer += to.recv(65_536)
        to.sendall(sent)
        assert to.recv(65_536) == b""


def test_a_header_that_trickles_is_not_waited_for_either(impatient: Served) -> None:
    with socket.create_connection(("127.0.0.1", impatient.port), timeout=20) as to:
        to.sendall(b"GET /healthz HTTP/1.1\r\nHost: here\r\n")
        for number in range(100):
            try:
                to.sendall(b"X-%d: x\r\n" % number)
            except OSError:
                break
            time.sleep(0.05)
        assert number < 50


def test_a_refused_body_that_goes_on_for_ever_is_cut(impatient: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("maskq.producer.gateway.limits.drain_body._MOST_S", 0.2)
    head = b"POST /v1/jobs HTTP/1.1\r\nHost: here\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n"
    with socket.create_connection(("127.0.0.1", impatient.port), timeout=20) as to:
        to.sendall(head)
        with pytest.raises(OSError, match=r"reset|[Bb]roken"):
            for _ in range(1000):
                to.sendall(b"10\r\n" + bytes(0x10) + b"\r\n")
                time.sleep(0.01)


def test_answers_that_nobody_reads_are_not_kept_for_ever(impatient: Served) -> None:
    asked = b"GET /openapi.json HTTP/1.1\r\nHost: here\r\n\r\n"
    with socket.socket() as to:
        to.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        to.connect(("127.0.0.1", impatient.port))
        to.sendall(asked * 1000)
        until(lambda: not open_to(impatient.port, to))


def test_who_keeps_to_the_rules_is_not_cut_however_long_it_takes(impatient: Served) -> None:
    """A body that comes slowly, a stream of events, a result that is waited for, a connection that is used again."""

    def slowly() -> Iterator[bytes]:
        for pixel in range(0, len(IMAGE), 10):
            time.sleep(0.25)
            yield IMAGE[pixel : pixel + 10]

    with httpx.Client(base_url=impatient.http.base_url, timeout=20) as http:
        job_id = http.post("/v1/jobs", content=slowly()).json()["job_id"]
        ends = threading.Timer(2.5, impatient.work, (job_id, *Stage))
        ends.start()
        assert [event["state"] for event in impatient.events(job_id)][-1] == "done"
        ends.join()
        other = http.post("/v1/jobs", content=IMAGE).json()["job_id"]
        assert http.get(f"/v1/jobs/{other}/result?wait=2.5").status_code == 409
        for _ in range(8):
            time.sleep(0.2)
            assert http.get("/healthz").status_code == 200


def test_a_result_may_be_read_slowly(impatient: Served) -> None:
    job_id = impatient.submit()
    impatient.work(job_id, *Stage)
    impatient.to.store.put(job_id, Payload.LABELS, file := IMAGE + bytes(24 << 20))
    said = b""
    with socket.create_connection(("127.0.0.1", impatient.port), timeout=20) as to:
        to.sendall(f"GET /v1/jobs/{job_id}/labels HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n".encode())
        while more := to.recv(1 << 20):
            said += more
            time.sleep(0.1)
    assert said.endswith(file)


def answer_to(port: int, head: str, body: list[bytes], leave: bool = False) -> bytes:
    """The whole answer to a request that is sent without a look at what comes back; perhaps by one who then leaves."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as to:
        to.sendall(f"POST /v1/jobs HTTP/1.1\r\nHost: here\r\nConnection: close\r\n{head}\r\n\r\n".encode())
        for piece in body:
            to.sendall(piece)
        if leave:
            to.shutdown(socket.SHUT_WR)
        said = b""
        while more := to.recv(65_536):
            said += more
        return said


def test_who_sends_too_much_hears_so_whatever_was_announced(gateway: Served) -> None:
    chunk = b"10000\r\n" + bytes(0x10000) + b"\r\n"
    too_much = 40 * 0x10000
    for head, body in [
        (f"Content-Length: {too_much}", [bytes(too_much)]),
        ("Transfer-Encoding: chunked", [chunk] * 40 + [b"0\r\n\r\n"]),
        (f"Content-Type: text/plain\r\nContent-Length: {too_much}", [bytes(too_much)]),
    ]:
        status, _, rest = answer_to(gateway.port, head, body).partition(b"\r\n")
        assert status.split()[1] == (b"415" if "text" in head else b"413"), status
        assert b"application/problem+json" in rest
    assert not gateway.to.redis.exists("maskq:active")


def test_a_body_that_ends_before_its_announced_length_never_becomes_a_job(gateway: Served) -> None:
    assert answer_to(gateway.port, "Content-Length: 1000", [IMAGE[:50]], leave=True) == b""
    assert gateway.submit()
    assert gateway.to.redis.zcard("maskq:active") == 1


def test_who_expects_a_100_is_refused_before_sending_anything(gateway: Served) -> None:
    said = answer_to(gateway.port, f"Content-Length: {MAX_BYTES * 2}\r\nExpect: 100-continue", [])
    assert said.startswith(b"HTTP/1.1 413")


def test_without_its_redis_it_lives_is_not_ready_and_comes_back(tmp_path: Any, redis_url: str) -> None:
    server = private_redis(tmp_path / "redis")
    first, second = Supervisor(tmp_path), Supervisor(tmp_path)
    first.start(server.program)
    with serving(Settings(broker_url=server.url)) as gateway:
        until(lambda: gateway.http.get("/readyz").status_code == 200)
        stream = gateway.events(gateway.submit())
        next(stream)
        first.stop(grace_s=5)
        ready = gateway.http.get("/readyz")
        assert (ready.status_code, ready.headers["content-type"]) == (503, "application/problem+json")
        assert gateway.http.get("/healthz").status_code == 200
        assert list(stream) == [], "the stream ends, and its reader may come again"
        second.start(server.program)
        try:
            until(lambda: gateway.http.get("/readyz").status_code == 200)
            gateway.submit()
        finally:
            second.stop(grace_s=5)


def test_metrics_count_what_is_in_redis(gateway: Served, redis: Redis) -> None:
    gateway.submit()
    assert "maskq_jobs_unfinished 1.0\n" in gateway.http.get("/metrics").text
