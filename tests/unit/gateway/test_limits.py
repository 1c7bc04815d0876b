"""The gateway's limits: sizes, throughput, memory of uploads and downloads."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import httpx
import pytest

from maskq import PayloadTooLarge
from maskq.producer.gateway.errors import GatewayBusy, UploadTooSlow
from maskq.producer.gateway.limits.downloads import MAX_LOADING, Downloads
from maskq.producer.gateway.limits.throughput import MIN_BYTES_PER_S, MinThroughput
from maskq.producer.gateway.limits.uploads import Uploads
from maskq.producer.state.pieces import PieceReader
from tests.unit.gateway.fakes import HERE, MAX_BYTES, MULTIPART, PART, PNG, Http, assert_problem


async def chunked(count: int, head: bytes = b"") -> AsyncIterator[bytes]:
    """A body of `head` and `count` chunks of 10,000 bytes, without a Content-Length."""
    yield head
    for _ in range(count):
        yield bytes(10_000)


def test_a_body_with_a_content_length_over_the_limit_is_413(http: Http) -> None:
    detail = assert_problem(http.post(bytes(MAX_BYTES + 1)), 413, PayloadTooLarge)["detail"]
    assert "100,000 bytes" in detail
    assert http.post(bytes(MAX_BYTES)).status_code == 202


@pytest.mark.parametrize("length", [None, "10"], ids=["no length", "wrong length"])
def test_a_body_that_exceeds_the_limit_is_413_and_not_buffered(http: Http, length: str | None) -> None:
    headers = {"content-length": length} if length else {}
    buffered, uploads = [], http.app.state.gateway.uploads

    async def counted() -> AsyncIterator[bytes]:
        async for chunk in chunked(30):
            yield chunk
            buffered.append(uploads.bytes.total)

    assert_problem(http.post(counted(), headers=headers), 413, PayloadTooLarge)
    assert max(buffered) <= MAX_BYTES + 10_000
    assert uploads.bytes.total == 0
    assert not http.client.submitted


def test_the_file_of_a_form_has_the_same_limit(http: Http) -> None:
    head = (PART % (b"file", b"")).removesuffix(b"\r\n")
    body = chunked(300, head)
    assert_problem(http.post(body, headers=MULTIPART), 413, PayloadTooLarge)
    assert http.app.state.gateway.uploads.bytes.total == 0


def test_the_file_of_a_form_may_not_use_the_allowance_for_the_forms_fields(http: Http) -> None:
    for size, status in ((MAX_BYTES, 202), (MAX_BYTES + 1, 413)):
        response = http("POST", "/v1/jobs", files={"file": ("a.png", bytes(size))})
        assert response.status_code == status
    assert len(http.client.submitted) == 1
    assert http.app.state.gateway.uploads.bytes.total == 0


def test_all_uploads_together_have_a_limit(http: Http) -> None:
    uploads = http.app.state.gateway.uploads
    uploads.bytes.total = 4 * (MAX_BYTES + (1 << 20))
    response = http.post(b"one more")
    assert_problem(response, 503, GatewayBusy)
    assert int(response.headers["retry-after"]) > 0
    assert uploads.bytes.total == 4 * (MAX_BYTES + (1 << 20))


def test_a_body_that_stalls_is_408(http: Http) -> None:
    http.app.state.gateway = replace(http.app.state.gateway, uploads=Uploads(MAX_BYTES, idle_s=0.05))

    async def stuck() -> AsyncIterator[bytes]:
        yield b"some"
        await asyncio.sleep(1)

    assert_problem(http.post(stuck()), 408, UploadTooSlow)


def test_a_body_that_trickles_is_408(http: Http) -> None:
    http.app.state.gateway = replace(http.app.state.gateway, uploads=Uploads(MAX_BYTES, idle_s=0.3))
    sent = []

    async def trickle() -> AsyncIterator[bytes]:
        for number in range(100):
            sent.append(number)
            yield b"x"
            await asyncio.sleep(0.05)

    assert_problem(http.post(trickle()), 408, UploadTooSlow)
    assert len(sent) < 20
    assert http.app.state.gateway.uploads.bytes.total == 0


def test_a_long_body_above_the_minimum_throughput_is_accepted(http: Http) -> None:
    http.app.state.gateway = replace(http.app.state.gateway, uploads=Uploads(MAX_BYTES, idle_s=0.3))

    async def steady() -> AsyncIterator[bytes]:
        for _ in range(10):
            await asyncio.sleep(0.05)
            yield bytes(10_000)

    assert http.post(steady()).status_code == 202


def test_the_gateways_own_time_does_not_count_as_the_clients() -> None:
    async def transfer(*waits: float) -> None:
        throughput = MinThroughput(0.2)
        for count, seconds in enumerate(waits):
            async with throughput.timeout(count):
                await asyncio.sleep(seconds)
            await asyncio.sleep(0.15)

    asyncio.run(transfer(0.01, 0.01, 0.01))
    with pytest.raises(TimeoutError):
        asyncio.run(transfer(0.12, 0.12))


def test_the_timeout_grows_with_the_bytes_transferred() -> None:
    async def transfer(count: int) -> None:
        throughput = MinThroughput(0.2)
        for number in range(3):
            async with throughput.timeout(number * count):
                await asyncio.sleep(0.1)

    asyncio.run(transfer(MIN_BYTES_PER_S // 5))
    with pytest.raises(TimeoutError):
        asyncio.run(transfer(1))


def test_buffered_results_have_a_limit_but_one_alone_may_have_any_size(http: Http) -> None:
    downloads = http.app.state.gateway.downloads
    http.client.current_job.file = PNG + bytes(5 * MAX_BYTES)
    assert http("GET", f"{HERE}/labels").status_code == 200
    http.client.current_job.piece = 6 * MAX_BYTES  # as from a store that gives it whole
    assert http("GET", f"{HERE}/labels").status_code == 200
    downloads.buffered_bytes = 1
    response = http("GET", f"{HERE}/labels")
    assert_problem(response, 503, GatewayBusy)
    assert int(response.headers["retry-after"]) > 0
    assert http("GET", f"{HERE}/result").status_code == 200, "small results still pass"
    assert downloads.buffered_bytes == 1


def test_a_limited_number_of_results_is_read_from_the_store_at_once(
    http: Http, monkeypatch: pytest.MonkeyPatch
) -> None:
    reading, maximum = [0], [0]

    def slowly() -> bytes:
        reading[0] += 1
        maximum[0] = max(maximum[0], reading[0])
        time.sleep(0.02)
        reading[0] -= 1
        return PNG

    monkeypatch.setattr(http.client.current_job, "read_labels", lambda: PieceReader.of(slowly()))

    async def get_all(count: int) -> list[httpx.Response]:
        transport = httpx.ASGITransport(http.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
            return await asyncio.gather(*(client.get(f"{HERE}/labels") for _ in range(count)))

    assert [response.status_code for response in http.run(get_all(4 * MAX_LOADING))] == [200] * 4 * MAX_LOADING
    assert 1 < maximum[0] <= MAX_LOADING


def test_a_client_that_stops_reading_is_disconnected(http: Http) -> None:
    downloads = Downloads(MAX_BYTES, idle_s=0.05)
    http.app.state.gateway = replace(http.app.state.gateway, downloads=downloads)
    http.client.current_job.file = PNG + bytes(1 << 18)
    sent: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        if len(sent) == 3:
            await asyncio.sleep(5)
        sent.append(message)

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
    assert (len(sent), sent[-1]["more_body"]) == (3, True)
    assert downloads.buffered_bytes == 0
