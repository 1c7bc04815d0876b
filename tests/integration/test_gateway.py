"""The gateway with a real Redis and real sockets; the tests play the workers through the ledger."""

from __future__ import annotations

import io
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
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
from maskq.producer.gateway.limits.downloads import Downloads
from maskq.producer.gateway.server import uvicorn_config
from maskq.producer.gateway.subscriptions import Subscriptions
from maskq.producer.schema import Objects, Stage
from maskq.producer.state import pieces
from maskq.producer.state.connections import Connections
from maskq.producer.state.ledger import Claim
from maskq.producer.state.store import Payload
from maskq.workers.local.redis_server import private_redis
from maskq.workers.supervision.supervisor import Supervisor
from tests.conftest import png, until

IMAGE = png(np.zeros((8, 8), np.uint8))
MAX_BYTES = 1_000_000
MAX_SUBSCRIPTIONS = 3


class Served:
    """A gateway on a free port, and the actions of a worker behind it."""

    def __init__(self, port: int, app: FastAPI, subscriptions: Subscriptions, settings: Settings) -> None:
        self.http = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=20)
        self.port, self.app, self.subscriptions = port, app, subscriptions
        self.connections = Connections.open(settings)

    def submit(self, **query: Any) -> str:
        response = self.http.post("/v1/jobs", content=IMAGE, params=query)
        assert response.status_code == 202, response.text
        job_id: str = response.json()["job_id"]
        return job_id

    def work(self, job_id: str, *stages: Stage) -> None:
        for stage in stages:
            self.connections.ledger.claim(Claim(job_id, stage, "worker"))
            if stage is Stage.CLUSTER:
                objects = Objects(height=8, width=8, model="nuclei@1", objects=())
                self.connections.store.put(job_id, Payload.OBJECTS, objects.model_dump_json().encode())
                self.connections.store.put(job_id, Payload.LABELS, IMAGE)
            self.connections.ledger.finish(Claim(job_id, stage, "worker"))

    def events(self, job_id: str) -> Iterator[dict[str, Any]]:
        """The data of each event, as it arrives."""
        with self.http.stream("GET", f"/v1/jobs/{job_id}/events") as response:
            assert response.status_code == 200, response.read()
            for line in response.iter_lines():
                if line.startswith("data: "):
                    yield json.loads(line.removeprefix("data: "))


@contextmanager
def serving(settings: Settings, sender_limit: int = MAX_SUBSCRIPTIONS) -> Iterator[Served]:
    subscriptions = Subscriptions(settings.broker_url or "", sender_limit, MAX_SUBSCRIPTIONS)
    app = create_app(Client(settings=settings), subscriptions, settings)
    server = uvicorn.Server(uvicorn_config(app, settings))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        served = Served(listener.getsockname()[1], app, subscriptions, settings)
        try:
            until(lambda: server.started)
            yield served
        finally:
            subscriptions.shutting_down = server.should_exit = True
            thread.join(20)
            served.http.close()
            served.connections.close()
        assert not thread.is_alive()


@pytest.fixture
def gateway(redis_url: str) -> Iterator[Served]:
    with serving(Settings(broker_url=redis_url, max_bytes=MAX_BYTES, max_client_queued=2)) as served:
        yield served


def test_a_submission_is_queued_and_its_image_stored(gateway: Served) -> None:
    query = {"client": "lab", "priority": 9, "options": '{"min_pixels": 5}', "limits": '{"max_pixels": 64}'}
    job_id = gateway.submit(**query)
    job = gateway.connections.ledger.status(job_id)
    assert (job.state, job.spec.client, job.spec.priority) == (State.QUEUED, "lab", 9)
    assert (job.spec.options.min_pixels, job.spec.limits.max_pixels) == (5, 64)
    assert gateway.connections.store.get(job_id, Payload.IMAGE) == IMAGE
    assert gateway.http.get(f"/v1/jobs/{job_id}").json()["state"] == "queued"
    assert gateway.http.get(f"/v1/jobs/{job_id}/result").status_code == 409
    assert gateway.http.get(f"/v1/jobs/{'0' * 32}").status_code == 404


def test_the_same_key_gives_the_same_job(gateway: Served) -> None:
    def send(key: str, **query: str) -> str:
        sent = gateway.http.post("/v1/jobs", content=IMAGE, headers={"Idempotency-Key": key}, params=query)
        return str(sent.json()["job_id"])

    assert send("a") == send("a") != send("b")
    assert send("a", client="other") != send("a")


def test_a_key_with_another_image_is_422_and_the_same_key_of_another_sender_is_another_job(gateway: Served) -> None:
    def send(image: bytes, sender: str = "127.0.0.1", **query: str) -> httpx.Response:
        with httpx.Client(transport=httpx.HTTPTransport(local_address=sender)) as http:
            url = f"http://127.0.0.1:{gateway.port}/v1/jobs"
            return http.post(url, content=image, headers={"Idempotency-Key": "a"}, params=query)

    job_id = send(IMAGE).json()["job_id"]
    conflict = send(IMAGE + b" ")
    assert (conflict.status_code, conflict.json()["type"]) == (422, "urn:maskq:error:IdempotencyConflict")
    assert job_id in conflict.json()["detail"]
    assert send(IMAGE).json()["job_id"] == job_id
    assert send(IMAGE + b" ", sender="127.0.0.2").status_code == 202
    assert send(IMAGE, client="b").status_code == send(IMAGE, client="b", sender="127.0.0.2").status_code == 202
    assert gateway.connections.ledger.unfinished() == 3


def test_the_same_image_gives_jobs_of_their_own(gateway: Served) -> None:
    assert gateway.submit(reuse=True) != gateway.submit(reuse=True)


def test_a_full_queue_is_429_with_a_retry_after(gateway: Served) -> None:
    gateway.submit()
    gateway.submit()
    full = gateway.http.post("/v1/jobs", content=IMAGE)
    assert (full.status_code, full.json()["type"]) == (429, "urn:maskq:error:QueueFull")
    assert 1 <= int(full.headers["retry-after"]) <= 60
    assert "2 jobs of this client" in full.json()["detail"]
    gateway.submit(client="another")


def test_a_large_image_is_refused_at_its_first_piece_if_the_queue_is_full(redis_url: str, redis: Redis) -> None:
    settings = Settings(broker_url=redis_url, max_client_queued=1)
    with serving(settings) as gateway:
        gateway.submit(client="lab")
        for announced in ({"Content-Length": str(64 << 20)}, {}):
            body = (bytes(1 << 20) for _ in range(64))
            url = f"http://127.0.0.1:{gateway.port}/v1/jobs"
            full = httpx.post(url, content=body, params={"client": "lab"}, headers=announced, timeout=30)
            assert (full.status_code, full.json()["type"]) == (429, "urn:maskq:error:QueueFull")
            assert "1 jobs of this client" in full.json()["detail"]
        assert len(redis.keys("maskq:payload:*")) == 1
        np.save(stream := io.BytesIO(), np.zeros((3000, 3000), np.uint8))
        assert httpx.post(url, content=stream.getvalue(), params={"client": "another"}, timeout=30).status_code == 202


def test_events_arrive_as_states_are_entered_and_end_with_the_job(gateway: Served) -> None:
    job_id = gateway.submit()
    events = gateway.events(job_id)
    assert next(events)["state"] == "queued"
    gateway.work(job_id, Stage.EMBED)
    assert [next(events)["state"] for _ in range(2)] == ["embedding", "embedded"]
    gateway.work(job_id, Stage.CLUSTER)
    assert [event["state"] for event in events] == ["clustering", "done"]
    assert [event["state"] for event in gateway.events(job_id)] == [
        "queued",
        "embedding",
        "embedded",
        "clustering",
        "done",
    ]
    until(lambda: gateway.subscriptions.open.total == 0)


def test_a_failed_jobs_last_event_has_its_error(gateway: Served) -> None:
    job_id = gateway.submit()
    gateway.connections.ledger.claim(Claim(job_id, Stage.EMBED, "worker"))
    gateway.connections.ledger.fail(
        Claim(job_id, Stage.EMBED, "worker"), Failure(type="NotAnImage", message="not a PNG")
    )
    *_, last = gateway.events(job_id)
    assert (last["state"], last["error"]["type"]) == ("failed", "NotAnImage")
    assert gateway.http.get(f"/v1/jobs/{job_id}/result").json()["error"]["type"] == "NotAnImage"


def test_events_arrive_at_once_not_at_the_next_poll(gateway: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("maskq.producer.state.ledger.waiting.LOOK_AGAIN_S", 60.0)
    job_id = gateway.submit()
    events = gateway.events(job_id)
    assert next(events)["state"] == "queued"
    until(lambda: gateway.connections.redis.pubsub_numsub(f"maskq:job:{job_id}")[0][1] == 1)
    gateway.connections.ledger.cancel(job_id)
    assert [event["state"] for event in events] == ["cancelled"]


def test_a_stream_ends_at_its_maximum_duration(gateway: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("maskq.producer.gateway.routes.events.MAX_STREAM_S", 0.3)
    assert [event["state"] for event in gateway.events(gateway.submit())] == ["queued"]
    until(lambda: gateway.subscriptions.open.total == 0)


def test_a_stream_that_begins_during_a_shutdown_has_the_current_state_and_ends(gateway: Served) -> None:
    gateway.subscriptions.shutting_down = True
    assert [event["state"] for event in gateway.events(gateway.submit())] == ["queued"]


def test_the_limit_of_subscriptions_and_a_disconnect_that_frees_one(gateway: Served) -> None:
    job_id = gateway.submit()
    streams = [gateway.events(job_id) for _ in range(MAX_SUBSCRIPTIONS)]
    for stream in streams:
        next(stream)
    refused = gateway.http.get(f"/v1/jobs/{job_id}/events")
    assert (refused.status_code, refused.json()["type"]) == (503, "urn:maskq:error:GatewayBusy")
    assert gateway.http.get(f"/v1/jobs/{job_id}/result?wait=1").status_code == 503
    streams.pop().close()  # type: ignore[attr-defined]
    until(lambda: gateway.subscriptions.open.total == MAX_SUBSCRIPTIONS - 1, 5)
    assert gateway.http.get(f"/v1/jobs/{job_id}/result?wait=0.1").status_code == 409
    for stream in streams:
        stream.close()  # type: ignore[attr-defined]
    until(lambda: gateway.subscriptions.open.total == 0, 5)


def test_one_sender_can_not_hold_all_subscriptions(redis_url: str) -> None:
    """Here each has an address that the trusted proxy on this host reports."""
    with serving(Settings(broker_url=redis_url), sender_limit=MAX_SUBSCRIPTIONS - 1) as gateway, ExitStack() as streams:
        job_id = gateway.submit()
        path = f"/v1/jobs/{job_id}/events"

        def listen(sender: str) -> httpx.Response:
            request = gateway.http.stream("GET", path, headers={"X-Forwarded-For": sender})
            return streams.enter_context(request)

        assert [listen("2001:db8::1").status_code for _ in range(MAX_SUBSCRIPTIONS - 1)] == [200, 200]
        for refused in (listen("2001:db8::2"), listen("2001:db8::1")):
            problem = json.loads(refused.read())
            assert (refused.status_code, problem["type"]) == (503, "urn:maskq:error:GatewayBusy")
            assert "2 requests wait for jobs from 2001:db8::/64" in problem["detail"]
            assert "MASKQ_MAX_CLIENT_LISTENERS allows more" in problem["detail"]
            assert int(refused.headers["retry-after"]) > 0
        waiting = gateway.http.get(f"/v1/jobs/{job_id}/result?wait=1", headers={"X-Forwarded-For": "2001:db8::3"})
        assert waiting.status_code == 503, "waits for results are listeners too"
        assert listen("192.0.2.1").status_code == 200
        streams.close()
        until(lambda: gateway.subscriptions.open.total == 0, 10)


def test_a_request_that_waits_gets_the_result_when_it_is_there(gateway: Served) -> None:
    job_id = gateway.submit()
    worker = threading.Timer(0.5, gateway.work, (job_id, *Stage))
    worker.start()
    response = gateway.http.get(f"/v1/jobs/{job_id}/result?wait=15")
    worker.join()
    assert (response.status_code, response.json()["model"]) == (200, "nuclei@1")
    assert gateway.http.get(f"/v1/jobs/{job_id}/labels.png").content == IMAGE
    assert gateway.http.get(f"/v1/jobs/{job_id}/labels.tif").status_code == 404


def test_cancelling_ends_the_job_and_deletes_its_image(gateway: Served) -> None:
    job_id = gateway.submit()
    for _ in range(2):
        cancelled = gateway.http.delete(f"/v1/jobs/{job_id}").json()
        assert (cancelled["state"], cancelled["detail"]) == ("cancelled", "cancelled while queued")
    assert not gateway.connections.redis.exists(f"maskq:payload:{job_id}:image")
    assert gateway.http.get(f"/v1/jobs/{job_id}/result").status_code == 410
    done = gateway.submit()
    gateway.work(done, *Stage)
    assert gateway.http.delete(f"/v1/jobs/{done}").json()["state"] == "done"


def test_cancellations_of_one_job_do_not_cancel_another_of_the_same_image(gateway: Served) -> None:
    job_id, other = gateway.submit(reuse=True), gateway.submit(reuse=True)
    for key in ("a", "b", "c"):
        cancelled = gateway.http.delete(f"/v1/jobs/{job_id}", headers={"Idempotency-Key": key})
        assert (cancelled.status_code, cancelled.json()["state"]) == (200, "cancelled"), cancelled.text
    assert gateway.connections.ledger.state(other) is State.QUEUED


def test_a_result_that_nobody_reads_is_not_buffered_forever(gateway: Served) -> None:
    job_id = gateway.submit()
    gateway.work(job_id, *Stage)
    gateway.connections.store.put(job_id, Payload.LABELS, file := IMAGE + bytes(32 << 20))
    downloads = Downloads(MAX_BYTES, idle_s=1)
    gateway.app.state.gateway = replace(gateway.app.state.gateway, downloads=downloads)
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=20) as client:
        client.sendall(f"GET /v1/jobs/{job_id}/labels HTTP/1.1\r\nHost: here\r\n\r\n".encode())
        until(lambda: downloads.buffered_bytes == pieces.PIECE)
        until(lambda: downloads.buffered_bytes == 0, 10)
        until(lambda: not is_open(gateway.port, client), 5)
    assert gateway.http.get(f"/v1/jobs/{job_id}/labels").content == file


def is_open(port: int, client: socket.socket) -> bool:
    """Whether the server's end of a connection is still open."""
    ends = port, client.getsockname()[1]
    connections = psutil.Process().net_connections("tcp4")
    return any((c.laddr.port, c.raddr.port) == ends and c.status == "ESTABLISHED" for c in connections if c.raddr)


@pytest.fixture
def short_timeout(gateway: Served, monkeypatch: pytest.MonkeyPatch) -> Served:
    """A gateway whose idle timeout ends connections after 0.5 to 1 s."""
    monkeypatch.setattr("maskq.producer.gateway.limits.idle_protocol.IDLE_TIMEOUT_S", 0.5)
    return gateway


@pytest.mark.parametrize("sent", [b"", b"GET /", b"GET /healthz HTTP/1.1\r\nHost: here\r\nX: "])
@pytest.mark.parametrize("reused", [False, True], ids=["new connection", "after a request"])
def test_an_incomplete_request_times_out(short_timeout: Served, sent: bytes, reused: bool) -> None:
    with socket.create_connection(("127.0.0.1", short_timeout.port), timeout=20) as client:
        if reused:
            client.sendall(b"GET /healthz HTTP/1.1\r\nHost: here\r\n\r\n")
            response = b""
            while not response.endswith(b'{"status":"ok"}'):
                response += client.recv(65_536)
        client.sendall(sent)
        assert client.recv(65_536) == b""


def test_a_trickling_header_times_out(short_timeout: Served) -> None:
    with socket.create_connection(("127.0.0.1", short_timeout.port), timeout=20) as client:
        client.sendall(b"GET /healthz HTTP/1.1\r\nHost: here\r\n")
        for number in range(100):
            try:
                client.sendall(b"X-%d: x\r\n" % number)
            except OSError:
                break
            time.sleep(0.05)
        assert number < 50


def test_a_rejected_body_that_never_ends_is_cut_off(short_timeout: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("maskq.producer.gateway.limits.drain_body._DRAIN_S", 0.2)
    head = b"POST /v1/jobs HTTP/1.1\r\nHost: here\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n"
    with socket.create_connection(("127.0.0.1", short_timeout.port), timeout=20) as client:
        client.sendall(head)
        with pytest.raises(OSError, match=r"reset|[Bb]roken"):
            for _ in range(1000):
                client.sendall(b"10\r\n" + bytes(0x10) + b"\r\n")
                time.sleep(0.01)


def test_responses_that_nobody_reads_are_not_buffered_forever(short_timeout: Served) -> None:
    request = b"GET /openapi.json HTTP/1.1\r\nHost: here\r\n\r\n"
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", short_timeout.port))
        client.sendall(request * 1000)
        until(lambda: not is_open(short_timeout.port, client))


def test_a_slow_but_valid_exchange_does_not_time_out(short_timeout: Served) -> None:
    """A slow body, a stream of events, a wait for a result, a connection that is reused."""

    def slowly() -> Iterator[bytes]:
        for pixel in range(0, len(IMAGE), 10):
            time.sleep(0.25)
            yield IMAGE[pixel : pixel + 10]

    with httpx.Client(base_url=short_timeout.http.base_url, timeout=20) as http:
        job_id = http.post("/v1/jobs", content=slowly()).json()["job_id"]
        worker = threading.Timer(2.5, short_timeout.work, (job_id, *Stage))
        worker.start()
        assert [event["state"] for event in short_timeout.events(job_id)][-1] == "done"
        worker.join()
        other = http.post("/v1/jobs", content=IMAGE).json()["job_id"]
        assert http.get(f"/v1/jobs/{other}/result?wait=2.5").status_code == 409
        for _ in range(8):
            time.sleep(0.2)
            assert http.get("/healthz").status_code == 200


def test_a_result_may_be_read_slowly(short_timeout: Served) -> None:
    job_id = short_timeout.submit()
    short_timeout.work(job_id, *Stage)
    short_timeout.connections.store.put(job_id, Payload.LABELS, file := IMAGE + bytes(24 << 20))
    response = b""
    with socket.create_connection(("127.0.0.1", short_timeout.port), timeout=20) as client:
        client.sendall(f"GET /v1/jobs/{job_id}/labels HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n".encode())
        while more := client.recv(1 << 20):
            response += more
            time.sleep(0.1)
    assert response.endswith(file)


def response_to(port: int, head: str, body: list[bytes], leave: bool = False) -> bytes:
    """The complete response to a request that is sent without reading meanwhile; `leave` ends the body early."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
        client.sendall(f"POST /v1/jobs HTTP/1.1\r\nHost: here\r\nConnection: close\r\n{head}\r\n\r\n".encode())
        for piece in body:
            client.sendall(piece)
        if leave:
            client.shutdown(socket.SHUT_WR)
        response = b""
        while more := client.recv(65_536):
            response += more
        return response


def test_a_body_over_the_limit_gets_its_response_whatever_the_headers_say(gateway: Served) -> None:
    chunk = b"10000\r\n" + bytes(0x10000) + b"\r\n"
    too_much = 40 * 0x10000
    for head, body in [
        (f"Content-Length: {too_much}", [bytes(too_much)]),
        ("Transfer-Encoding: chunked", [chunk] * 40 + [b"0\r\n\r\n"]),
        (f"Content-Type: text/plain\r\nContent-Length: {too_much}", [bytes(too_much)]),
    ]:
        status, _, rest = response_to(gateway.port, head, body).partition(b"\r\n")
        assert status.split()[1] == (b"415" if "text" in head else b"413"), status
        assert b"application/problem+json" in rest
    assert not gateway.connections.redis.exists("maskq:active")


def test_a_body_shorter_than_its_content_length_never_becomes_a_job(gateway: Served) -> None:
    assert response_to(gateway.port, "Content-Length: 1000", [IMAGE[:50]], leave=True) == b""
    assert gateway.submit()
    assert gateway.connections.redis.zcard("maskq:active") == 1


def test_a_client_that_expects_a_100_is_rejected_before_it_sends_the_body(gateway: Served) -> None:
    response = response_to(gateway.port, f"Content-Length: {MAX_BYTES * 2}\r\nExpect: 100-continue", [])
    assert response.startswith(b"HTTP/1.1 413")


def test_without_its_redis_it_is_alive_and_not_ready_and_recovers(tmp_path: Any, redis_url: str) -> None:
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
        assert list(stream) == [], "the stream ends, and the client may reconnect"
        second.start(server.program)
        try:
            until(lambda: gateway.http.get("/readyz").status_code == 200)
            gateway.submit()
        finally:
            second.stop(grace_s=5)


def test_metrics_count_the_jobs_in_redis(gateway: Served, redis: Redis) -> None:
    gateway.submit()
    assert "maskq_jobs_unfinished 1.0\n" in gateway.http.get("/metrics").text
