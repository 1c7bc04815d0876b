"""What maskq's connections send first: nothing that a Redis of version 7.0 refuses, and counts as errors."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from redis import Redis

from maskq import Client, Settings
from maskq.producer.state.handshake import plain_handshake
from maskq.workers.local.ports import free_port
from maskq.workers.local.redis_server import find_redis_server
from maskq.workers.local.stack import running
from tests.conftest import png, until

IMAGE = png(np.random.default_rng(0).integers(0, 255, (64, 64), np.uint8))
WAIT_S = 120


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[Redis]:
    """A Redis of its own: that it refuses nothing is counted from its start."""
    port = free_port()
    command = [find_redis_server(), "--port", str(port), "--save", "", "--dir", str(tmp_path)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        redis = Redis(port=port, **plain_handshake())
        until(lambda: _answers(redis))
        yield redis
    finally:
        server.terminate()
        server.wait()


def _answers(redis: Redis) -> bool:
    try:
        return bool(redis.ping())
    except Exception:
        return False


def test_no_connection_of_a_whole_stack_sends_what_an_older_redis_refuses(redis: Redis) -> None:
    url = f"redis://127.0.0.1:{redis.connection_pool.connection_kwargs['port']}/0"
    settings = Settings(
        broker_url=url, devices="cpu", cluster_processes=1, torch_threads=1, flower_port=0, gateway_port=0
    )
    with running(settings, flower=True, gateway=True) as stack, Client(url) as client:
        assert client.submit(IMAGE).wait(WAIT_S)
        job = httpx.post(f"{stack.gateway_url}/v1/jobs", content=IMAGE, headers={"content-type": "image/png"}).json()
        assert httpx.get(f"{stack.gateway_url}{job['links']['self']}/result?wait=60", timeout=90).status_code == 200
        until(lambda: "task-succeeded" in httpx.get(f"{stack.flower_url}/metrics").text)
    commands: Any = redis.info("commandstats")
    assert {"cmdstat_hello", "cmdstat_brpop", "cmdstat_subscribe"} <= commands.keys()
    assert [name for name in commands if name.startswith("cmdstat_client")] == []
    errors: Any = redis.info("errorstats")
    assert errors.keys() <= {"errorstat_NOSCRIPT"}  # the ledger's script is sent at its first use
