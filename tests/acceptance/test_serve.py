"""`maskq serve` with a real stack: images and masks over HTTP, and graceful shutdown on a signal."""

from __future__ import annotations

import io
import json
import re
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image
from redis import Redis

from maskq import Settings
from maskq.workers.local.stack import Stack, running
from tests.acceptance.pictures import ten_pieces
from tests.acceptance.processes import maskq, start
from tests.conftest import until


class Serve:
    """A running `maskq serve` on a free port."""

    def __init__(self, broker_url: str, log: Path, **env: str) -> None:
        with log.open("w") as output:
            self.process: subprocess.Popen[str] = start(
                "serve", "--port", "0", env={"MASKQ_BROKER_URL": broker_url, **env}, stdout=output
            )
        match = until(lambda: re.search(r"gateway: (http://\S+)/docs", log.read_text()) or self.process.poll(), 60)
        assert isinstance(match, re.Match), log.read_text()
        self.log = log
        self.http = httpx.Client(base_url=match[1], timeout=70)
        until(self._answers, 30)

    def _answers(self) -> bool:
        try:
            return self.http.get("/readyz").status_code == 200
        except httpx.TransportError:
            return False

    def stop(self, number: signal.Signals) -> tuple[int, float]:
        """The exit status, and the seconds until it ended."""
        began = time.monotonic()
        self.process.send_signal(number)
        return self.process.wait(60), time.monotonic() - began

    def close(self) -> None:
        self.http.close()
        self.process.kill()
        self.process.wait()

    def states(self, job_id: str) -> list[str]:
        """The states of the job's events, until they end."""
        with self.http.stream("GET", f"/v1/jobs/{job_id}/events") as response:
            lines = [line for line in response.iter_lines() if line.startswith("data: ")]
        return [json.loads(line.removeprefix("data: "))["state"] for line in lines]

    def submit(self, image: bytes, name: str = "image", **fields: Any) -> dict[str, Any]:
        response = self.http.post("/v1/jobs", files={"file": (name, image)}, data=fields)
        assert response.status_code == 202, response.text
        accepted: dict[str, Any] = response.json()
        return accepted


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with running(Settings(broker_url=None, devices="cpu=off", cluster_processes=1)) as stack:
        yield stack


@pytest.fixture(scope="module")
def gateway(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serve]:
    serve = Serve(stack.settings.broker_url or "", tmp_path_factory.mktemp("serve") / "log")
    try:
        yield serve
    finally:
        serve.close()


def test_an_image_becomes_masks(gateway: Serve, tmp_path: Path) -> None:
    (piece, truth), *_ = ten_pieces(tmp_path)
    accepted = gateway.submit(piece.read_bytes(), piece.name, priority=9, options='{"min_pixels": 20}')
    links = accepted["links"]
    assert gateway.states(accepted["job_id"]) == ["queued", "embedding", "embedded", "clustering", "done"]
    job = gateway.http.get(links["self"]).json()
    assert (job["state"], job["name"], job["priority"], job["attempts"]) == (
        "done",
        piece.name,
        9,
        {"embed": 1, "cluster": 1},
    )
    result = gateway.http.get(links["result"]).json()
    assert (result["height"], result["width"]) == truth.shape
    assert len(result["objects"]) > 3
    labels = gateway.http.get(links["labels"])
    assert labels.headers["content-type"] == "image/png"
    with Image.open(io.BytesIO(labels.content)) as picture:
        pixels = np.asarray(picture)
    for item in result["objects"]:
        assert (pixels == item["id"]).sum() == item["area"] > 20


def test_a_file_that_is_no_image_fails_with_its_reason(gateway: Serve) -> None:
    accepted = gateway.submit(b"no picture", "notes.txt")
    failed = gateway.http.get(f"{accepted['links']['result']}?wait=60")
    assert (failed.status_code, failed.headers["content-type"]) == (422, "application/problem+json")
    assert failed.json()["error"]["type"] == "NotAnImage"
    assert "notes.txt: a text, not a PNG" in failed.json()["detail"]


def test_a_waiting_job_can_be_cancelled(gateway: Serve) -> None:
    stream = io.BytesIO()
    np.save(stream, np.zeros((1024, 1024), np.uint8))
    jobs = [gateway.submit(stream.getvalue(), priority=0)["job_id"] for _ in range(8)]
    cancelled = gateway.http.delete(f"/v1/jobs/{jobs[-1]}").json()
    assert cancelled["state"] == "cancelled"
    assert cancelled["detail"].startswith("cancelled while ")
    assert gateway.states(jobs[-1])[-1] == "cancelled"
    assert gateway.http.get(f"/v1/jobs/{jobs[-1]}/result").status_code == 410
    for job in jobs[:-1]:
        gateway.http.delete(f"/v1/jobs/{job}")


def test_metrics_include_the_device_and_its_cudnn_setting(gateway: Serve, tmp_path: Path) -> None:
    (piece, _), *_ = ten_pieces(tmp_path)
    links = gateway.submit(piece.read_bytes())["links"]
    assert gateway.http.get(f"{links['result']}?wait=60").status_code == 200
    until(
        lambda: re.search(r'maskq_device_images_total\{node="cpu@[^"]+"\} [1-9]', gateway.http.get("/metrics").text), 20
    )
    metrics = gateway.http.get("/metrics").text
    assert 'cudnn_benchmark="off"' in metrics
    assert "maskq_device_cudnn_searches_total{" in metrics
    assert 'maskq_jobs_waiting{queue="cluster"} 0.0\n' in metrics


def test_openapi_is_at_docs(gateway: Serve) -> None:
    assert "swagger" in gateway.http.get("/docs").text
    assert "/v1/jobs/{job_id}/events" in gateway.http.get("/openapi.json").json()["paths"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_shuts_it_down_gracefully_with_a_stream_open(
    number: signal.Signals, redis_url: str, tmp_path: Path
) -> None:
    serve = Serve(redis_url, tmp_path / "log")  # no worker: the job waits for ever
    try:
        job_id, states = serve.submit(b"x")["job_id"], []
        listener = threading.Thread(target=lambda: states.extend(serve.states(job_id)))
        listener.start()
        until(lambda: _has_listener(redis_url, job_id))
        status, seconds = serve.stop(number)
        listener.join(20)
        assert status == 0, serve.log.read_text()
        assert seconds < 10
        assert states == ["queued"], "the stream ended without a reset"
        assert "Traceback" not in serve.log.read_text()
    finally:
        serve.close()


def _has_listener(redis_url: str, job_id: str) -> bool:
    with Redis.from_url(redis_url) as redis:
        return bool(redis.pubsub_numsub(f"maskq:job:{job_id}")[0][1])


def test_a_full_queue_is_429_with_retry_after(redis_url: str, tmp_path: Path) -> None:
    serve = Serve(redis_url, tmp_path / "log", MASKQ_MAX_QUEUED="1")
    try:
        serve.submit(b"x")
        full = serve.http.post("/v1/jobs", content=b"y")
        assert (full.status_code, full.json()["type"]) == (429, "urn:maskq:error:QueueFull")
        assert int(full.headers["retry-after"]) >= 1
    finally:
        serve.close()


def test_an_error_at_the_start_is_one_line(redis_url: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        refused = maskq("serve", "--port", str(port), env={"MASKQ_BROKER_URL": redis_url})
        assert refused.returncode == 2
        assert refused.stderr.strip() == (
            f"maskq: can't listen on 127.0.0.1, port {port}: Address already in use; try another --port"
        )
        nowhere = maskq("serve", env={"MASKQ_BROKER_URL": "redis://127.0.0.1:1/0"})
        assert nowhere.returncode == 2
        assert "the broker does not answer" in nowhere.stderr
