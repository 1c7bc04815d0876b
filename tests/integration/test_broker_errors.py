"""A Redis that refuses commands: the client's error says what is wrong with it and what to do."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from redis.exceptions import BusyLoadingError, ClusterDownError, DataError, ResponseError

from maskq import BrokerUnavailable, Client, JobCancelled, MaskqError, Settings, StoreFull
from maskq.producer.state.broker_errors import broker_errors, explain
from maskq.producer.state.connections import Connections
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


#: What a client needs, without INFO.
RULES = (
    "~maskq:* ~embed.* ~cluster* resetchannels &maskq:* &/0.celeryev/* -@all +@read +@write +@pubsub +@transaction "
    "+@connection +evalsha +script|load +time -@dangerous"
)


def user_of(server: tuple[Redis, str, Path], rules: str) -> str:
    """The server's URL for a user with these rules, in an empty Redis that knows no script."""
    redis, url, _ = server
    redis.flushall()
    redis.script_flush()
    redis.execute_command("ACL", "SETUSER", "guest", "reset", "on", ">secret", *rules.split())  # type: ignore[no-untyped-call]
    return url.replace("redis://", "redis://guest:secret@")


def test_a_wrong_password(server: tuple[Redis, str, Path]) -> None:
    error = refusal(user_of(server, RULES).replace("secret", "typo"))
    assert isinstance(error, BrokerUnavailable) and "correct the password" in str(error)
    assert "typo" not in str(error) and "secret" not in str(error)


@pytest.mark.parametrize(
    ("rules", "remedy"),
    [
        ("+ping +hello", "+evalsha"),
        (f"{RULES} -evalsha", "+evalsha"),
        (f"{RULES} -script|load", "+script|load"),
        (f"{RULES} resetchannels", "&maskq:* &/0.celeryev/* +publish"),
        (RULES.replace("~embed.* ~cluster*", ""), "~embed.* ~cluster*"),
        (f"{RULES} -zadd -llen", "+llen +zadd"),
    ],
    ids=["nothing", "no scripts", "no new scripts", "no channels", "no queues", "no commands"],
)
def test_a_missing_permission_is_named_before_anything_is_written(
    server: tuple[Redis, str, Path], rules: str, remedy: str
) -> None:
    error = refusal(user_of(server, rules))
    assert isinstance(error, BrokerUnavailable)
    (found,) = re.findall(r"give it the permission.*ACL SETUSER \w+ ([^)]+)", str(error))
    assert sorted(found.split()) == sorted(remedy.split())
    assert "secret" not in str(error)
    assert server[0].dbsize() == 0  # a script that is stopped half-way would leave half a job


def test_a_user_without_info_or_subscriptions_submits_and_waits(
    server: tuple[Redis, str, Path], caplog: pytest.LogCaptureFixture
) -> None:
    url = user_of(server, f"{RULES} -subscribe")
    with Client(url) as client, Client(server[1]) as other, ThreadPoolExecutor(1) as thread:
        client.check()
        for number in range(2):
            job = client.submit(PNG + bytes([number]))
            waiting = thread.submit(job.wait, 20)
            until(lambda: "looks at its job four times a second" in caplog.text)
            other.job(job.id).cancel()
            with pytest.raises(JobCancelled):
                waiting.result(20)
        assert client.stats().redis_bytes == 0
    for text in "producers can't leave the last tenth", "looks at its job four times a second":
        assert caplog.text.count(text) == 1


def test_a_worker_without_a_permission_does_not_start(server: tuple[Redis, str, Path]) -> None:
    connections = Connections.open(Settings(broker_url=user_of(server, RULES)))
    lacking = r"~_kombu\.\* &/0\.celery\.pidbox \+script\|exists \+subscribe"
    with pytest.raises(BrokerUnavailable, match=rf"ACL SETUSER guest {lacking}$"):
        connections.check_worker()
    connections.close()


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
