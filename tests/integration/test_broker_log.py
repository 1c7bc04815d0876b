"""What workers log while a real Redis refuses their commands: a line with the remedy, and nothing else."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from redis import Redis

from maskq import Client
from maskq.workers.local.ports import free_port
from maskq.workers.local.redis_server import find_redis_server
from tests.acceptance.processes import start
from tests.conftest import png, until

IMAGE = png(np.random.default_rng(0).integers(0, 255, (64, 64), np.uint8))

PNG = {"content-type": "image/png"}


class Place:
    """A Redis, the URL of its user `worker`, its folder, a worker of each kind and a gateway, and their log files."""

    def __init__(self, redis: Redis, url: str, data: Path, logs: dict[str, Path], gateway: str) -> None:
        self.redis, self.url, self.data, self.logs, self.gateway = redis, url, data, logs, gateway

    def lines(self, since: dict[str, int]) -> list[str]:
        return [line for name, path in self.logs.items() for line in path.read_text()[since[name] :].splitlines()]

    def sizes(self) -> dict[str, int]:
        return {name: len(path.read_text()) for name, path in self.logs.items()}

    def acl(self, *rules: str) -> None:
        self.redis.execute_command("ACL", "SETUSER", "worker", *rules)  # type: ignore[no-untyped-call]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder, port = tmp_path_factory.mktemp("place"), free_port()
    (folder / "data").mkdir()
    options = ["--port", str(port), "--save", "", "--dir", str(folder / "data")]
    server = subprocess.Popen([find_redis_server(), *options], stdout=subprocess.DEVNULL)
    redis, gateway_port = Redis(port=port), free_port()
    try:
        until(lambda: _answers(redis))
        here = Place(
            redis,
            f"redis://worker:secret@127.0.0.1:{port}/0",
            folder / "data",
            {name: folder / f"{name}.log" for name in ("device", "cluster", "gateway")},
            f"http://127.0.0.1:{gateway_port}",
        )
        here.acl("on", ">secret", "~*", "&*", "+@all")
        with _processes(here, gateway_port):
            yield here
    finally:
        server.kill()  # at SIGTERM it would try to save
        server.wait()


def _answers(redis: Redis) -> bool:
    try:
        return bool(redis.ping())
    except Exception:
        return False


@contextmanager
def _processes(place: Place, gateway_port: int) -> Iterator[None]:
    commands = {
        "device": ["worker", "device", "--devices", "cpu"],
        "cluster": ["worker", "cluster"],
        "gateway": ["serve", "--port", str(gateway_port)],
    }
    env = {"MASKQ_BROKER_URL": place.url, "MASKQ_CLUSTER_PROCESSES": "1"}
    started = []
    for name, command in commands.items():
        with place.logs[name].open("w") as log:
            started.append(start(*command, env=env, stdout=log))
    try:
        with Client(place.url) as client:
            client.submit(IMAGE).wait(120)
        yield
    finally:
        for process in started:
            process.terminate()
        for process in started:
            process.wait(60)


def _break_disk(place: Place) -> None:
    place.data.rmdir()
    place.redis.config_set("save", "1 1")
    until(lambda: _saving_fails(place.redis))


def _mend_disk(place: Place) -> None:
    place.data.mkdir()
    place.redis.config_set("save", "")


def _saving_fails(redis: Any) -> bool:
    with suppress(Exception):  # it is saving, or has failed to
        redis.bgsave()
    return bool(redis.info("persistence")["rdb_last_bgsave_status"] == "err")


def _change_password(place: Place) -> None:
    place.acl("resetpass", ">other")
    place.redis.execute_command("CLIENT", "KILL", "USER", "worker")  # type: ignore[no-untyped-call]


Step = Callable[[Place], object]


@pytest.mark.parametrize(
    ("refuse", "allow", "remedy", "status"),
    [
        (_break_disk, _mend_disk, "free space there", 503),
        (
            lambda place: place.redis.config_set("maxmemory", 1),
            lambda place: place.redis.config_set("maxmemory", 0),
            "give it more: its maxmemory",
            507,
        ),
        (
            lambda place: place.redis.replicaof("127.0.0.1", "1"),
            lambda place: place.redis.replicaof("NO", "ONE"),
            "has to name the primary",
            503,
        ),
        (lambda place: place.acl("-@write"), lambda place: place.acl("+@all"), "give it the permission", 503),
        (_change_password, lambda place: place.acl(">secret"), "correct the password", 503),
    ],
    ids=["disk", "memory", "replica", "permission", "password"],
)
def test_workers_log_the_remedy_once_and_go_on(
    place: Place, refuse: Step, allow: Step, remedy: str, status: int
) -> None:
    before = place.sizes()
    try:
        refuse(place)
        until(lambda: all(remedy in place.logs[kind].read_text()[before[kind] :] for kind in ("device", "cluster")))
        answer = httpx.post(
            f"{place.gateway}/v1/jobs", content=IMAGE, headers={"content-type": "image/png"}, timeout=60
        )
    finally:
        allow(place)
    assert answer.status_code == status
    assert "127.0.0.1" not in answer.text and "secret" not in answer.text
    with Client(place.url) as client:
        client.submit(IMAGE).wait(60)
    lines = place.lines(before)
    assert not [line for line in lines if line.startswith((" ", "Traceback")) or "Deprecation" in line], lines
    assert len(lines) < 15, lines
    assert not [line for line in lines if "secret" in line]
