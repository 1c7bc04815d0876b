"""Large uploads: in the store while they arrive, within shares, and gone if they do not become a job."""

from __future__ import annotations

import asyncio
import hashlib
import io
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import numpy as np
import pytest
from fastapi import Request
from PIL import Image

from maskq import BrokerUnavailable, IdempotencyConflict, InvalidJob, Options, PayloadTooLarge, StoreFull
from maskq.producer.client.identity import identify
from maskq.producer.client.sources import shape_of
from maskq.producer.client.upload import Upload
from maskq.producer.errors import MaskqError
from maskq.producer.gateway.errors import GatewayBusy
from maskq.producer.gateway.limits.shares import Shares, sender_of
from maskq.producer.schema import JobSpec
from tests.unit.gateway.fakes import MAX_BYTES, MULTIPART, PART, FakeStore, Http, assert_problem

IMAGE = bytes(range(256)) * 300
FORM = PART % (b"file", IMAGE)


@pytest.fixture(autouse=True)
def _small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("maskq.producer.state.pieces.PIECE", 8000)


def cut(body: bytes, size: int = 1000) -> Iterator[bytes]:
    return (body[start : start + size] for start in range(0, len(body), size))


async def arriving(body: bytes, then: Exception | None = None) -> AsyncIterator[bytes]:
    for chunk in cut(body):
        yield chunk
    if then:
        raise then


def left(http: Http) -> list[bytes]:
    """What the store has, and what counts as being uploaded."""
    uploads = http.app.state.gateway.uploads
    assert (uploads.bytes.total, uploads.count.total) == (0, 0)
    return [piece for pieces in http.client.store.stored.values() for piece in pieces]


@pytest.mark.parametrize("announced", [True, False])
@pytest.mark.parametrize("form", [True, False])
def test_a_large_image_is_stored_while_it_arrives(http: Http, form: bool, announced: bool) -> None:
    body = FORM + b"--x--\r\n" if form else IMAGE
    stored: list[int] = []

    async def watched() -> AsyncIterator[bytes]:
        for chunk in cut(body):
            stored.append(sum(map(len, *http.client.store.stored.values())) if http.client.store.stored else 0)
            yield chunk

    headers = (MULTIPART if form else {}) | ({"content-length": str(len(body))} if announced else {})
    assert http.post(watched(), headers=headers).status_code == 202
    ((image, _),) = http.client.submitted
    assert image == IMAGE
    assert all(got > 1000 * number - 9000 for number, got in enumerate(stored)), "a piece at most is held back"


@pytest.mark.parametrize("form", [True, False])
def test_nothing_is_left_of_an_upload_whose_client_hangs_up(http: Http, form: bool) -> None:
    """The server reports it as an `http.disconnect`."""
    body = list(cut(FORM if form else IMAGE))[:40]
    messages = [{"type": "http.request", "body": chunk, "more_body": True} for chunk in body]
    stored: list[int] = []

    async def receive() -> dict[str, Any]:
        if messages:
            return messages.pop(0)
        stored.append(len(left_in(http.client.store)))
        return {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        pass

    headers = [(name.encode(), value.encode()) for name, value in (MULTIPART if form else {}).items()]
    scope = {"type": "http", "method": "POST", "path": "/v1/jobs", "raw_path": b"/v1/jobs", "query_string": b""}
    http.run(http.app({**scope, "headers": headers}, receive, send))  # type: ignore[arg-type]
    assert stored[0] > 0
    assert left(http) == []
    assert not http.client.submitted


def left_in(store: FakeStore) -> bytes:
    return b"".join(piece for pieces in store.stored.values() for piece in pieces)


@pytest.mark.parametrize(
    ("body", "headers", "error"),
    [
        (IMAGE + bytes(MAX_BYTES), {}, PayloadTooLarge),
        (PART % (b"file", IMAGE + bytes(MAX_BYTES)), MULTIPART, PayloadTooLarge),
        (FORM, MULTIPART, InvalidJob),
        (FORM + b'--x\r\nContent-Disposition: form-data; name="priority"\r\n\r\n11\r\n--x--', MULTIPART, InvalidJob),
        (FORM + FORM + b"--x--", MULTIPART, InvalidJob),
    ],
    ids=["too long", "too long a file", "cut off", "a wrong field after it", "two files"],
)
def test_nothing_is_left_of_an_upload_that_is_refused(
    http: Http, body: bytes, headers: dict[str, str], error: type[MaskqError]
) -> None:
    assert_problem(http.post(arriving(body), headers=headers), error.status, error)
    assert http.client.store.stored, "it was stored meanwhile"
    assert left(http) == []


@pytest.mark.parametrize("error", [StoreFull("Redis is full"), BrokerUnavailable("it is away")])
def test_a_store_that_refuses_a_piece_refuses_the_upload(http: Http, error: MaskqError) -> None:
    http.client.store.error = error
    response = http.post(arriving(IMAGE))
    assert_problem(response, error.status, type(error))
    assert int(response.headers["retry-after"]) > 0
    assert left(http) == []


def test_a_store_without_room_for_what_is_announced_refuses_it_at_the_first_piece(http: Http) -> None:
    http.client.store.room = len(IMAGE) - 1
    sent = []

    async def counted() -> AsyncIterator[bytes]:
        for chunk in cut(IMAGE):
            sent.append(chunk)
            yield chunk

    response = http.post(counted(), headers={"content-length": str(len(IMAGE))})
    assert_problem(response, 507, StoreFull)
    assert not http.client.store.stored


def test_an_image_that_was_handed_over_is_not_deleted_by_the_gateway(http: Http) -> None:
    """The ledger does so; if the broker does not answer, the job may exist."""
    http.client.submit_error = BrokerUnavailable("no answer")
    assert_problem(http.post(arriving(IMAGE)), 503, BrokerUnavailable)
    assert b"".join(left(http)) == IMAGE
    http.client.submit_error = IdempotencyConflict("another image")
    assert_problem(http.post(arriving(IMAGE)), 422, IdempotencyConflict)


def test_what_is_announced_counts_before_it_arrives(http: Http) -> None:
    uploads, counted = http.app.state.gateway.uploads, []

    async def watched() -> AsyncIterator[bytes]:
        for chunk in cut(IMAGE):
            counted.append((uploads.bytes.total, uploads.count.total))
            yield chunk

    assert http.post(watched(), headers={"content-length": str(len(IMAGE))}).status_code == 202
    assert set(counted) == {(len(IMAGE), 1)}
    assert (uploads.bytes.total, uploads.count.total) == (0, 0)


def test_one_sender_leaves_room_for_the_uploads_of_others(http: Http) -> None:
    uploads = http.app.state.gateway.uploads
    for shares, amount in ((uploads.count, 192), (uploads.bytes, 3 * (MAX_BYTES + (1 << 20)))):
        shares.take("127.0.0.1", amount)
        response = http.post()
        detail = assert_problem(response, 503, GatewayBusy)["detail"]
        assert "from 127.0.0.1" in detail and int(response.headers["retry-after"]) > 0
        assert post_from(http, "192.0.2.1").status_code == 202
        shares.give("127.0.0.1", amount)
    assert http.post().status_code == 202


def post_from(http: Http, host: str) -> httpx.Response:
    async def send() -> httpx.Response:
        transport = httpx.ASGITransport(http.app, client=(host, 1))
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
            return await client.post("/v1/jobs", content=b"image")

    response: httpx.Response = http.run(send())
    return response


@pytest.mark.parametrize(
    ("host", "sender"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::9", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("unix", "unix"),
        ("", ""),
    ],
)
def test_the_addresses_of_one_client_are_one_sender(host: str, sender: str) -> None:
    assert sender_of(Request({"type": "http", "client": (host, 1)})) == sender


def test_shares_count_all_and_each() -> None:
    shares = Shares(10, 6, "things", "MASKQ_THINGS")
    shares.take("a", 6)
    with pytest.raises(GatewayBusy, match="6 things from a, .* MASKQ_THINGS allows more"):
        shares.take("a", 1)
    shares.take("b", 4)
    with pytest.raises(GatewayBusy, match="10 things, which is the limit"):
        shares.take("c", 1)
    shares.give("a", 2)
    shares.take("c", 2)
    for sender, amount in (("a", 4), ("b", 4), ("c", 2)):
        shares.give(sender, amount)
    assert (shares.total, shares._held) == (0, {})


def stored_image(image: bytes) -> Any:
    upload = Upload(FakeStore())  # type: ignore[arg-type]
    for chunk in cut(image):
        if upload.add(chunk):
            upload.flush()
    return upload.finish()


def test_a_stored_image_has_the_identity_and_the_shape_of_its_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    picture = Image.fromarray(rng.integers(0, 255, (200, 300), np.uint8))
    for kind in ("PNG", "TIFF", "BMP", "JPEG"):
        stream = io.BytesIO()
        picture.save(stream, kind, **({"compression": "tiff_deflate"} if kind == "TIFF" else {}))
        image = stream.getvalue()
        monkeypatch.setattr("maskq.producer.client.upload._TAIL", 2000)
        stored = stored_image(image)
        assert (stored.size, stored.sha256) == (len(image), hashlib.sha256(image).hexdigest())
        assert shape_of(stored) == shape_of(image) == "200x300", kind
        of = {"key": "k", "sender": "me", "reuse": True, "across_clients": False}
        assert identify(stored, JobSpec(), **of) == identify(image, JobSpec(), **of)  # type: ignore[arg-type]
    stream = io.BytesIO()
    np.save(stream, np.zeros((3, 90, 100), np.uint8))
    assert shape_of(stored_image(stream.getvalue()), "CYX") == "90x100"


def test_a_multipart_body_cut_anywhere_gives_the_same(http: Http) -> None:
    fields = b'--x\r\nContent-Disposition: form-data; name="options"\r\n\r\n{"tta": true}\r\n'
    body = fields + PART % (b"file", b"a\r\n--y\r\n\r\n--\r" * 20) + b"--x--\r\n"

    async def at(size: int) -> AsyncIterator[bytes]:
        for chunk in cut(body, size):
            yield chunk

    for size in (1, 2, 3, 5, 7, 64, len(body)):
        assert http.post(at(size), headers=MULTIPART).status_code == 202
    expected = b"a\r\n--y\r\n\r\n--\r" * 20, Options(tta=True)
    assert all((image, job["options"]) == expected for image, job in http.client.submitted)


def test_many_uploads_at_once_are_bounded(http: Http) -> None:
    gateway = http.app.state.gateway

    async def at_once(count: int) -> list[httpx.Response]:
        entered = asyncio.Event()

        async def slow() -> AsyncIterator[bytes]:
            yield b"image"
            await entered.wait()

        transport = httpx.ASGITransport(http.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
            sent = [asyncio.create_task(client.post("/v1/jobs", content=slow())) for _ in range(count)]
            async with asyncio.timeout(60):
                while gateway.uploads.count.total < 192:
                    await asyncio.sleep(0.01)
            entered.set()
            return await asyncio.gather(*sent)

    statuses = [response.status_code for response in http.run(at_once(200))]
    assert (statuses.count(202), statuses.count(503)) == (192, 8)
    assert http.post().status_code == 202
