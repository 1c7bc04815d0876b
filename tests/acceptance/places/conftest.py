"""One Redis with the page's users, and workers on it as the page's user, for all tests of docs/places.md."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
from redis import Redis

from maskq import Settings
from maskq.workers.local.ports import free_port
from maskq.workers.local.redis_server import find_redis_server
from maskq.workers.local.stack import Stack, running
from tests.conftest import until

from .page import answers, users


@pytest.fixture(scope="package")
def redis_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """A Redis with the users of the page."""
    port, folder = free_port(), tmp_path_factory.mktemp("redis")
    server = subprocess.Popen(
        [find_redis_server(), "--port", str(port), "--save", "", "--dir", str(folder)], stdout=subprocess.DEVNULL
    )
    try:
        redis: Any = Redis(port=port)
        until(lambda: answers(redis))
        for user in users():
            redis.execute_command(*user)
        yield port
    finally:
        server.terminate()
        server.wait()


@pytest.fixture(scope="package")
def stack(redis_port: int) -> Iterator[Stack]:
    """Workers as the page's user for them."""
    url = f"redis://worker:password@127.0.0.1:{redis_port}/0"
    settings = Settings(broker_url=url, devices="cpu", cluster_processes=1, torch_threads=1)
    with running(settings) as stack:
        yield stack


@pytest.fixture
def url(stack: Stack, redis_port: int) -> str:
    """The broker's URL for the page's clients."""
    return f"redis://client:password@127.0.0.1:{redis_port}/0"
