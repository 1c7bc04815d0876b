"""A real Redis for the tests that need one; no test sees the developer's own settings."""

from __future__ import annotations

import io
import os
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import numpy as np
import psutil
import pytest
from PIL import Image
from redis import Redis
from redis.exceptions import ConnectionError as RedisDown

from maskq.workers.local.redis_server import NoRedis, private_redis
from maskq.workers.supervision.supervisor import Supervisor

T = TypeVar("T")


def until(condition: Callable[[], T | None], deadline: float = 20.0) -> T:
    """Call `condition` until its result is true, and return it; fail after `deadline` seconds, with its last result."""
    end = time.monotonic() + deadline
    while not (result := condition()):
        assert time.monotonic() < end, f"not so within {deadline:g} s; last seen: {result!r}"
        time.sleep(0.02)
    return result


def text(value: Any) -> str:
    """A byte string from Redis, as text."""
    return str(value.decode())


def png(pixels: np.ndarray[Any, Any]) -> bytes:
    """The pixels, encoded as PNG."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def processes(module: str) -> set[psutil.Process]:
    """This process's descendants that run a module, such as `maskq.workers.device.process`."""
    return {process for process in psutil.Process().children(recursive=True) if module in _command(process)}


def _command(process: psutil.Process) -> list[str]:
    try:
        command: list[str] = process.cmdline()
    except psutil.NoSuchProcess:
        return []
    return command


@pytest.fixture(scope="session", autouse=True)
def _isolated_settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The tests ignore the developer's MASKQ_ variables and running `maskq up`."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("MASKQ_")]:
            patch.delenv(name)
        patch.setenv("MASKQ_STATE_DIR", str(tmp_path_factory.mktemp("state")))
        patch.setenv("MASKQ_REUSE", "false")  # many tests submit the same image, and each needs it computed
        yield


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Torch on one thread: a second one doesn't pay for small inputs, and sums keep their order."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A private Redis, emptied before each test. Without a server the test is skipped, but fails in CI."""
    try:
        server = private_redis(tmp_path_factory.mktemp("redis"))
    except NoRedis as error:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(str(error))
    supervisor = Supervisor(tmp_path_factory.mktemp("redis-log"))
    supervisor.start(server.program)
    try:
        until(lambda: _answers(server.url))
        yield server.url
    finally:
        supervisor.stop(grace_s=5)


def _answers(url: str) -> bool:
    with Redis.from_url(url) as redis:
        try:
            return bool(redis.ping())
        except RedisDown:
            return False


@pytest.fixture
def redis(redis_url: str) -> Iterator[Redis]:
    """A connection to the private Redis."""
    with Redis.from_url(redis_url) as connection:
        yield connection


@pytest.fixture(autouse=True)
def _empty_redis(request: pytest.FixtureRequest) -> None:
    if "redis_url" in request.fixturenames:
        with Redis.from_url(request.getfixturevalue("redis_url")) as redis:
            redis.flushall()
