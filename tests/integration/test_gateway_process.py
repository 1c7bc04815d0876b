"""The gateway as a process of a stack: supervised, on a configured port."""

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
from maskq.workers.programs import gateway_program
from maskq.workers.supervision.supervisor import Supervisor
from tests.conftest import png, processes, until

#: The gateway, with an event loop that blocks after half a second.
STUCK = """
import sys, time
from maskq.producer.gateway import server
from maskq.workers.gateway import main

class Stuck(server.Server):
    async def on_tick(self, counter):
        if counter == 5:
            time.sleep(600)
        return await super().on_tick(counter)

server.Server = Stuck
main(*sys.argv[1:])
"""


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[Supervisor]:
    supervisor = Supervisor(tmp_path)
    yield supervisor
    supervisor.stop(grace_s=5)


def status(port: int, path: str) -> int | None:
    """The status of the gateway's response; None while it doesn't listen."""
    try:
        return httpx.get(f"http://127.0.0.1:{port}{path}", timeout=20).status_code
    except httpx.TransportError:
        return None


def test_the_gateway_starts_without_redis_and_waits_for_it(
    supervisor: Supervisor, tmp_path: Path, redis_url: str
) -> None:
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


def test_a_gateway_with_a_blocked_event_loop_is_replaced(
    supervisor: Supervisor, tmp_path: Path, redis_url: str
) -> None:
    port = free_port()
    program = gateway_program(Settings(broker_url=redis_url, heartbeat_s=2), port)
    argv = (sys.executable, "-c", STUCK, *program.argv[4:])
    supervisor.start(replace(program, argv=argv))
    (first,) = until(lambda: processes(STUCK), 60)
    until(lambda: processes(STUCK) - {first}, 60)
    assert "its event loop has stood still" in (tmp_path / "gateway.log").read_text()


def test_a_port_in_use_is_refused() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(PortTaken, match=f"port {port} is taken: set MASKQ_FLOWER_PORT to another for the flower"):
            loopback_port("flower", port)
    assert loopback_port("flower", port) == port
    assert loopback_port("flower", 0) > 0


def test_a_port_without_permission_is_not_reported_as_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise PermissionError(13, os.strerror(13))

    monkeypatch.setattr(socket, "create_server", refuse)
    with pytest.raises(PortTaken, match=r"port 80 can't be had \(Permission denied\): set MASKQ_GATEWAY_PORT"):
        loopback_port("gateway", 80)


def test_two_services_may_not_have_the_same_port() -> None:
    port = free_port()
    with pytest.raises(PortTaken, match=f"port {port} is another part's as well: set MASKQ_GATEWAY_PORT"):
        loopback_port("gateway", port, reserved=(port,))
    assert loopback_port("gateway", port, reserved=(None, port - 1)) == port
