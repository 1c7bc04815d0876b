"""Large uploads to a gateway process, with a real Redis: memory, what stays, what is read again."""

from __future__ import annotations

import hashlib
import http.client
import os
import re
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest
from redis import Redis

from maskq import Client, Settings, State
from maskq.producer.schema import Stage
from maskq.producer.state.ledger import Claim
from maskq.producer.state.store import Payload
from maskq.workers.local.ports import free_port
from maskq.workers.programs import gateway_program
from maskq.workers.supervision.supervisor import Supervisor
from tests.conftest import processes, until

MIB = 1 << 20
FORM = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.npy"\r\n\r\n'


@pytest.fixture(scope="module")
def port(redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    port, supervisor = free_port(), Supervisor(tmp_path_factory.mktemp("gateway"))
    supervisor.start(gateway_program(Settings(broker_url=redis_url, max_bytes=64 * MIB), port))
    try:
        until(lambda: answers(port), 60)
        yield port
    finally:
        supervisor.stop(grace_s=5)


def answers(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/readyz", timeout=20).status_code == 200
    except httpx.TransportError:
        return False


def content(name: str, size: int) -> Iterator[bytes]:
    """Bytes that no other name has, in chunks."""
    chunk = hashlib.sha256(name.encode()).digest() * (MIB // 32)
    for _ in range(size // MIB):
        yield chunk


def post(port: int, name: str, size: int, form: bool, announced: bool = True) -> str:
    """Upload without a copy of the whole in this process; returns the job's id."""
    ends = (FORM, b"\r\n--x--\r\n") if form else (b"", b"")
    headers = {"Content-Type": "multipart/form-data; boundary=x" if form else "application/octet-stream"}
    headers |= {"Content-Length": str(size + sum(map(len, ends)))} if announced else {}

    def body() -> Iterator[bytes]:
        yield from (part for part in (ends[0], *content(name, size), ends[1]) if part)

    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("POST", "/v1/jobs", body(), headers, encode_chunked=not announced)
    response = connection.getresponse()
    text = response.read().decode()
    connection.close()
    assert response.status == 202, text
    return str(re.findall(r'"job_id": ?"(\w+)"', text)[0])


def test_the_memory_of_uploads_at_once_is_a_part_of_their_size(port: int, redis_url: str, redis: Redis) -> None:
    (gateway,) = processes("maskq.workers.gateway")
    post(port, "warm up", 8 * MIB, form=True)
    before, over, peak = gateway.memory_info().rss, threading.Event(), [0]

    def watch() -> None:
        while not over.wait(0.005):
            peak.append(max(peak.pop(), gateway.memory_info().rss))

    kinds = {"raw": (False, True), "form": (True, True), "chunked": (True, False)}
    jobs: dict[str, str] = {}
    senders = [
        threading.Thread(target=lambda name=name, kind=kind: jobs.update({name: post(port, name, 60 * MIB, *kind)}))
        for name, kind in kinds.items()
    ]
    watcher = threading.Thread(target=watch)
    watcher.start()
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join()
    over.set()
    watcher.join()
    assert len(set(jobs.values())) == 3
    assert peak[0] - before < 0.5 * 180 * MIB
    with Client(redis_url) as client:
        for name, job_id in jobs.items():
            assert client.job(job_id).image() == b"".join(content(name, 60 * MIB))
            assert redis.ttl(f"maskq:payload:{job_id}:image") == -1, "it is kept as long as the job needs it"


@pytest.mark.parametrize("form", [False, True])
def test_nothing_stays_of_an_upload_whose_client_hangs_up(port: int, redis: Redis, form: bool) -> None:
    kind = "multipart/form-data; boundary=x" if form else "image/tiff"
    head = f"POST /v1/jobs HTTP/1.1\r\nHost: here\r\nContent-Type: {kind}\r\nContent-Length: {60 * MIB}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
        client.sendall(head.encode() + FORM * form)
        for chunk in content("half", 30 * MIB):
            client.sendall(chunk)
        (key,) = until(lambda: redis.keys("maskq:payload:*"))
        assert 0 < redis.ttl(key) <= 600
    until(lambda: not redis.keys("maskq:*"))


def test_what_a_killed_gateway_was_receiving_expires(port: int, redis: Redis) -> None:
    (gateway,) = processes("maskq.workers.gateway")
    head = f"POST /v1/jobs HTTP/1.1\r\nHost: here\r\nContent-Length: {60 * MIB}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
        client.sendall(head.encode())
        for chunk in content("half", 30 * MIB):
            client.sendall(chunk)
        until(lambda: redis.keys("maskq:payload:*"))
        gateway.send_signal(signal.SIGKILL)
        gateway.wait(20)
        assert {0 < redis.ttl(key) <= 600 for key in redis.keys("maskq:*")} == {True}
    until(lambda: processes("maskq.workers.gateway") - {gateway} and answers(port), 60)


def test_a_large_upload_is_known_by_its_key_and_its_bytes(port: int, redis: Redis) -> None:
    def send(name: str, key: str) -> httpx.Response:
        url = f"http://127.0.0.1:{port}/v1/jobs"
        return httpx.post(url, content=content(name, 9 * MIB), headers={"Idempotency-Key": key}, timeout=60)

    first = send("one", "k").json()["job_id"]
    assert send("one", "k").json()["job_id"] == first
    assert send("other", "k").status_code == 422
    assert send("other", "l").json()["job_id"] != first
    assert len(redis.keys("maskq:payload:*")) == 2, "what a repetition or a conflict has sent is deleted"


def test_a_large_result_comes_in_pieces_and_is_cut_off_where_it_is_lost(
    port: int, redis_url: str, redis: Redis, tmp_path: Path
) -> None:
    (gateway,) = processes("maskq.workers.gateway")
    job_id = post(port, "image", MIB, form=False)
    labels = b"\x89PNG" + os.urandom(60 * MIB)
    with Client(redis_url) as client:
        ledger, store = client._connections.ledger, client._connections.store
        for stage in Stage:
            claim = Claim(job_id, stage)
            ledger.claim(claim)
            if stage is Stage.CLUSTER:
                store.put(job_id, Payload.LABELS, labels)
                store.put(job_id, Payload.OBJECTS, b'{"objects":"' + b"x" * (9 * MIB) + b'"}')
            ledger.finish(claim)
        assert client.job(job_id).state is State.DONE
    url, before = f"http://127.0.0.1:{port}/v1/jobs/{job_id}", gateway.memory_info().rss
    assert httpx.head(f"{url}/labels").headers["content-length"] == str(len(labels))
    with httpx.stream("GET", f"{url}/labels", timeout=60) as response:
        received = hashlib.sha256()
        for chunk in response.iter_bytes():
            received.update(chunk)
    assert received.digest() == hashlib.sha256(labels).digest()
    assert gateway.memory_info().rss - before < 40 * MIB
    assert len(httpx.get(f"{url}/result", timeout=60).json()["objects"]) == 9 * MIB
    with httpx.stream("GET", f"{url}/labels", timeout=60) as response:
        assert response.status_code == 200
        redis.delete(f"maskq:payload:{job_id}:labels")
        with pytest.raises(httpx.TransportError):
            response.read()
    assert httpx.get(f"{url}/labels", timeout=60).status_code == 410
    assert psutil.pid_exists(gateway.pid)
