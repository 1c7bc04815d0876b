"""The example backend: an upload becomes masks, over HTTP."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from maskq import Settings
from maskq.workers.local.ports import free_port
from maskq.workers.local.stack import running
from tests.acceptance.pictures import ten_pieces
from tests.acceptance.processes import plain
from tests.conftest import until


@pytest.fixture(scope="module")
def backend() -> Iterator[httpx.Client]:
    port = free_port()
    with running(Settings(broker_url=None, devices="cpu", cluster_processes=1)) as stack:
        broker = stack.settings.broker_url
        assert broker
        server = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "uvicorn",
                "examples.backend.app:app",
                "--port",
                str(port),
                "--log-level",
                "warning",
            ],
            env=plain({"MASKQ_BROKER_URL": broker}),
        )
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
                until(lambda: server.poll() is not None or _answers(client), 30)
                yield client
        finally:
            server.terminate()
            server.wait(30)


def _answers(client: httpx.Client) -> bool:
    try:
        return client.get("/openapi.json").status_code == 200
    except httpx.TransportError:
        return False


def test_an_upload_becomes_masks(backend: httpx.Client, tmp_path: Path) -> None:
    (piece, truth), *_ = ten_pieces(tmp_path)
    accepted = backend.post("/images", files={"file": (piece.name, piece.read_bytes())})
    assert accepted.status_code == 202
    links = accepted.json()
    until(lambda: backend.get(links["state"]).json()["state"] == "done", 60)
    result = backend.get(links["result"]).json()
    assert result["size"] == list(truth.shape) and len(result["objects"]) > 3
    assert backend.get(f"{links['state']}/labels.png").content.startswith(b"\x89PNG")


def test_errors_have_their_status_and_reason(backend: httpx.Client) -> None:
    links = backend.post("/images", files={"file": ("notes.txt", b"no picture")}).json()
    until(lambda: backend.get(links["state"]).json()["state"] == "failed", 60)
    response = backend.get(links["result"])
    assert response.status_code == 422 and "notes.txt: a text, not a PNG" in response.json()["detail"]
    assert backend.get("/images/nonesuch").status_code == 404
    assert backend.post("/images?model=No!", files={"file": ("a.png", b"x")}).status_code == 422
