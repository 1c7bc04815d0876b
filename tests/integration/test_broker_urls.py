"""Workers, clients and the gateway on a Redis that is reached by a socket, or with a password that needs quoting."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis

from examples.samples import samples
from maskq import Client, Settings
from maskq.workers.local.ports import free_port
from maskq.workers.local.redis_server import find_redis_server
from maskq.workers.local.stack import running
from tests.conftest import until

PASSWORD = "p@ss/#1?"
WAIT_S = 120


@pytest.fixture(scope="module")
def addresses(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The server's URLs by a socket and by TCP, the password not percent-encoded, each with a database of its own."""
    folder, port = tmp_path_factory.mktemp("redis"), free_port()
    socket = folder / "r.sock"
    options = ["--port", str(port), "--unixsocket", str(socket), "--requirepass", PASSWORD, "--save", ""]
    server = subprocess.Popen([find_redis_server(), *options], stdout=subprocess.DEVNULL, cwd=folder)
    try:
        until(lambda: socket.exists() and Redis(unix_socket_path=str(socket), password=PASSWORD).ping())
        yield {
            "socket": f"unix://:{PASSWORD}@{socket}?db=1",
            "kombu's socket": f"redis+socket://:{PASSWORD}@{socket}?virtual_host=2",
            "password": f"redis://:{PASSWORD}@127.0.0.1:{port}?db=3",
        }
    finally:
        server.terminate()
        server.wait()


@pytest.mark.parametrize("kind", ["socket", "kombu's socket", "password"])
def test_a_job_is_done(addresses: dict[str, str], kind: str) -> None:
    settings = Settings(broker_url=addresses[kind], devices="cpu", cluster_processes=1, torch_threads=1)
    image: Path = samples()[0]
    with running(settings) as stack, Client(addresses[kind]) as client:
        assert stack.settings.broker_url == addresses[kind]
        assert client.submit(image).wait(WAIT_S).objects
