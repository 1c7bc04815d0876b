"""The gateway as a part of a stack: a process under a supervisor, on a port that was asked for."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from maskq import Settings
from maskq.workers.local.ports import PortTaken, free_port, loopback_port
from maskq.workers.local.redis_server import private_redis
from maskq.workers.local.stack import gateway_program
from maskq.workers.supervision.supervisor import Supervisor
from tests.conftest import png, processes, until

#: The gateway, but its event loop stops after half a second.
STUCK = """
import sys, time
from maskq.producer.gateway import serve
from maskq.workers.gateway import main

class Stuck(serve.Server):
    async def on_tick(self, counter):
        if counter == 5:
            time.sleep(600)
        return await super().on_tick(counter)

serve.Server = Stuck
main(*sys.argv[1:])
"""


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[Supervisor]:
    made = Supervisor(tmp_path)
    yield made
    made.stop(grace_s=5)


def status(port: int, path: str) -> int | None:
    """What the gateway answers; None while there is none."""
    try:
        return httpx.get(f"http://127.0.0.1:{port}{path}", timeout=20).status_code
    except httpx.TransportError:
        return None


def test_without_a_redis_it_starts_and_waits_for_one(supervisor: Supervisor, tmp_path: Path, redis_url: str) -> None:
    server, port = private_redis(tmp_path / "redis"), free_port()
    supervisor.start(gateway_program(Settings(broker_url=server.url), port))
    until(lambda: status(port, "/readyz") == 503, 60)
    (process,) = processes("maskq.workers.gateway")
    assert status(port, "/healthz") == 200
    assert status(port, f"/v1/jobs/{'0' * 32}/events") == 503
    supervisor.start(server.program)
    until(lambda: status(port, "/readyz") == 200)
    url = f"http://127.0.0.1:{port}/v1/jobs"
    job_id = httpx.post(url, content=png(np.zeros((8, 8), np.uint8)), timeout=20).json()["job_id"]
    assert httpx.get(f"{url}/{job_id}/result?wait=0.1", timeout=20).status_code == 409
    assert processes("maskq.workers.gateway") == {process}
    assert supervisor.error is None


def test_one_whose_event_loop_is_stuck_is_replaced(supervisor: Supervisor, redis_url: str) -> None:
    port = free_port()
    program = gateway_program(Settings(broker_url=redis_url, heartbeat_s=2), port)
    argv = (sys.executable, "-c", STUCK, *program.argv[4:])
    supervisor.start(replace(program, argv=argv))
    (first,) = until(lambda: processes(STUCK), 60)
    until(lambda: processes(STUCK) - {first}, 60)


def test_a_port_that_something_listens_on_is_refused() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(PortTaken, match=f"port {port} is taken: set MASKQ_FLOWER_PORT to another for the flower"):
            loopback_port("flower", port)
    assert loopback_port("flower", port) == port
    assert loopback_port("flower", 0) > 0


def test_a_port_that_one_may_not_listen_on_is_not_said_to_be_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise PermissionError(13, os.strerror(13))

    monkeypatch.setattr(socket, "create_server", refuse)
    with pytest.raises(PortTaken, match=r"port 80 can't be had \(Permission denied\): set MASKQ_GATEWAY_PORT"):
        loopback_port("gateway", 80)


def test_two_parts_do_not_get_one_port() -> None:
    port = free_port()
    with pytest.raises(PortTaken, match=f"port {port} is another part's as well: set MASKQ_GATEWAY_PORT"):
        loopback_port("gateway", port, others=(port,))
    assert loopback_port("gateway", port, others=(None, port - 1)) == port
