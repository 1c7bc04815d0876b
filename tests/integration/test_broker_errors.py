"""A Redis that refuses commands: the client's error says what is wrong with it and what to do."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from redis.exceptions import BusyLoadingError, ClusterDownError, DataError, ResponseError

from maskq import BrokerUnavailable, Client, MaskqError, Settings, StoreFull
from maskq.producer.state.broker_errors import broker_errors, explain
from maskq.workers.local.ports import free_port
from maskq.workers.local.redis_server import find_redis_server
from tests.conftest import until

PNG = b"\x89PNG no image, and no worker that would look"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Redis, str, Path]]:
    """A Redis of this module's own, its URL, and its folder."""
    folder, port = tmp_path_factory.mktemp("redis"), free_port()
    process = subprocess.Popen(
        [find_redis_server(), "--port", str(port), "--save", "", "--dir", str(folder)], stdout=subprocess.DEVNULL
    )
    redis = Redis(port=port)
    try:
        until(lambda: _answers(redis))
        yield redis, f"redis://127.0.0.1:{port}/0", folder
    finally:
        process.terminate()
        process.wait()


def _answers(redis: Redis) -> bool:
    try:
        return bool(redis.ping())
    except OSError:
        return False
    except Exception as error:
        return "loading" in str(error)


def refusal(url: str) -> MaskqError:
    with Client(settings=Settings(broker_url=url)) as client, pytest.raises(MaskqError) as refused:
        client.submit(PNG)
    return refused.value


def test_a_full_redis(server: tuple[Redis, str, Path]) -> None:
    redis, url, _ = server
    redis.config_set("maxmemory", 1)
    try:
        error = refusal(url)
    finally:
        redis.config_set("maxmemory", 0)
    assert isinstance(error, StoreFull)


def test_a_replica(server: tuple[Redis, str, Path]) -> None:
    redis, url, _ = server
    redis.replicaof("127.0.0.1", "1")
    try:
        error = refusal(url)
    finally:
        redis.replicaof("NO", "ONE")
    assert isinstance(error, BrokerUnavailable) and "has to name the primary" in str(error)


def test_a_redis_that_evicts(server: tuple[Redis, str, Path], caplog: pytest.LogCaptureFixture) -> None:
    redis, url, _ = server
    redis.config_set("maxmemory-policy", "allkeys-lru")
    try:
        with Client(settings=Settings(broker_url=url)) as client:
            client.check()
            assert "set maxmemory-policy noeviction" in caplog.text
            redis.config_set("maxmemory", 100 << 20)
            with pytest.raises(BrokerUnavailable, match="loses accepted jobs"):
                client.check()
    finally:
        redis.config_set("maxmemory", 0)
        redis.config_set("maxmemory-policy", "noeviction")


def test_a_wrong_password_and_a_user_without_permissions(server: tuple[Redis, str, Path]) -> None:
    redis, url, _ = server
    redis.execute_command("ACL", "SETUSER", "guest", "on", ">secret", "~*", "+ping", "+hello", "+client")  # type: ignore[no-untyped-call]
    wrong, guest = (url.replace("redis://", f"redis://guest:{password}@") for password in ("typo", "secret"))
    for error, text in (refusal(wrong), "correct the password"), (refusal(guest), "give it the permission"):
        assert isinstance(error, BrokerUnavailable) and text in str(error)
        assert "typo" not in str(error) and "secret" not in str(error)
    with Client(guest) as client:
        client.check()


def test_a_disk_that_can_not_be_written(server: tuple[Redis, str, Path]) -> None:
    redis, url, folder = server
    folder.rmdir()
    redis.config_set("save", "1 1")
    try:
        until(lambda: _saving_fails(redis))
        error = refusal(url)
    finally:
        redis.config_set("save", "")
    assert isinstance(error, BrokerUnavailable) and "can't write to its disk" in str(error)


def _saving_fails(redis: Any) -> bool:
    with suppress(ResponseError):  # it is saving, or has failed to
        redis.bgsave()
    return bool(redis.info("persistence")["rdb_last_bgsave_status"] == "err")


def test_errors_that_can_not_be_staged_here() -> None:
    assert "still loads its data" in str(explain(BusyLoadingError("Redis is loading the dataset in memory")))
    assert "needs a single Redis" in str(explain(ClusterDownError("The cluster is down")))


def test_errors_of_the_program_itself_stay_as_they_are() -> None:
    with pytest.raises(DataError), broker_errors():
        raise DataError("Invalid input of type: 'dict'")
