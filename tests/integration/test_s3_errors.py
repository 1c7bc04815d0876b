"""What goes wrong with a store in S3: typed errors that name the remedy, within seconds, from servers that say it."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from maskq.producer.errors import InvalidJob, MaskqError, StoreFull, StoreUnavailable
from maskq.producer.state import s3 as bounded
from maskq.producer.state.store import FsspecStore, Payload
from maskq.workers.local.ports import free_port
from tests.integration.conftest import S3

#: An answer of S3, by its documentation → what the error says.
ANSWERS = {
    (403, "AccessDenied", "Access Denied"): "AccessDenied: .*allow this key s3:GetObject, .*s3:ListBucket",
    (403, "InvalidAccessKeyId", "The key does not exist in our records."): "correct AWS_ACCESS_KEY_ID",
    (403, "SignatureDoesNotMatch", "Check your secret key."): "correct AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    (400, "ExpiredToken", "The provided token has expired."): "has expired; renew AWS_SESSION_TOKEN",
    (400, "AuthorizationHeaderMalformed", "The region is wrong; expecting 'eu-west-1'"): "set AWS_DEFAULT_REGION",
    (503, "SlowDown", "Please reduce your request rate."): "SlowDown: .*it is busy or throttles",
    (500, "InternalError", "We encountered an internal error."): "InternalError: .*try again later",
}


@contextmanager
def serving(status: int, code: str, message: str) -> Iterator[str]:
    """A server that gives one answer to all requests; its URL."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            body = f"<Error><Code>{code}</Code><Message>{message}</Message></Error>".encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_PUT = do_POST = do_DELETE = answer  # noqa: N815

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture(autouse=True)
def _keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


def errors(url: str, monkeypatch: pytest.MonkeyPatch) -> list[MaskqError]:
    """The errors of writing, reading and deleting at this endpoint."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", url)
    store = FsspecStore("s3://payloads/maskq")
    calls = (
        lambda: store.put("job", Payload.IMAGE, b"image"),
        lambda: store.get("job", Payload.IMAGE),
        lambda: store.drop_jobs(["job"]),
    )
    raised = []
    for call in calls:
        with pytest.raises(MaskqError) as error:
            call()
        raised.append(error.value)
    return raised


@pytest.mark.parametrize(("answer", "says"), ANSWERS.items(), ids=[code for _, code, _ in ANSWERS])
def test_what_s3_answers_is_said_with_the_remedy(
    answer: tuple[int, str, str], says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(*answer) as url:
        for error in errors(url, monkeypatch):
            assert isinstance(error, StoreUnavailable) and re.search(says, str(error)), str(error)


def test_a_full_store_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(507, "XMinioStorageFull", "Storage backend has reached its minimum free drive threshold.") as url:
        assert {type(error) for error in errors(url, monkeypatch)} == {StoreFull}


def test_a_bucket_that_is_not_there_is_no_missing_payload(s3: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3.env["AWS_ENDPOINT_URL"])
    store = FsspecStore("s3://another-bucket/maskq")
    for call in (lambda: store.put("job", Payload.IMAGE, b"x"), lambda: store.get("job", Payload.IMAGE)):
        with pytest.raises(StoreUnavailable, match="NoSuchBucket: .*create the bucket, or correct MASKQ_STORE_URL"):
            call()


def test_a_server_that_is_away_or_silent_is_said_and_nobody_waits_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(bounded._CONFIG, "read_timeout", 0.2)
    monkeypatch.setattr(bounded, "_LIMIT_S", 5.0)
    for error in errors(f"http://127.0.0.1:{free_port()}", monkeypatch):
        assert isinstance(error, StoreUnavailable) and "does not answer: Could not connect" in str(error)
        assert "correct AWS_ENDPOINT_URL" in str(error)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        for error in errors(f"http://127.0.0.1:{silent.getsockname()[1]}", monkeypatch):
            assert isinstance(error, StoreUnavailable) and "does not answer" in str(error)


def test_without_keys_they_are_asked_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    for error in errors(f"http://127.0.0.1:{free_port()}", monkeypatch):
        assert isinstance(error, StoreUnavailable) and "set AWS_ACCESS_KEY_ID" in str(error)


@pytest.mark.parametrize(("url", "says"), [("nope://x", "nope"), ("adl://x/y", "pip install")])
def test_a_url_that_cannot_be_opened_is_refused_with_its_setting(url: str, says: str) -> None:
    with pytest.raises(InvalidJob, match=f"MASKQ_STORE_URL={url}: .*{says}"):
        FsspecStore(url)


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(StoreUnavailable, match="Not a directory"):
        FsspecStore(f"file://{tmp_path}/file/below").put("job", Payload.IMAGE, b"x")
