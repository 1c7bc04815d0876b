"""Other people's Redis: each of the page's users has what its role needs, and no more is asked for."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from redis import Redis

from maskq import BrokerUnavailable, Client
from maskq.producer.state.permissions import CHANNELS, KEYS
from maskq.workers.local.ports import free_port
from tests.acceptance.processes import maskq, start
from tests.conftest import until

from .page import IMAGE, WAIT_S, users


@pytest.fixture
def nothing_refused(redis_port: int) -> Iterator[None]:
    """Redis has refused no user a thing."""
    redis: Any = Redis(port=redis_port)
    redis.acl_log_reset()
    yield
    assert [(entry["username"], entry["reason"], entry["object"]) for entry in redis.acl_log()] == []


@contextmanager
def serving(*arguments: str, url: str) -> Iterator[str]:
    """A program of maskq that serves HTTP, and its address."""
    port = free_port()
    program = start(*arguments, "--port", str(port), env={"MASKQ_BROKER_URL": url}, stdout=subprocess.DEVNULL)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        program.terminate()
        program.wait(60)


def _get(url: str, is_right: Callable[[httpx.Response], bool]) -> bool:
    try:
        return is_right(httpx.get(url, timeout=WAIT_S))
    except httpx.TransportError:
        return False


def test_the_rules_that_errors_name_are_those_of_the_page() -> None:
    worker = users()[0]
    assert {*KEYS.split(), *CHANNELS.format(0).split()} <= {*worker}


def test_a_client_and_an_administrator(url: str, nothing_refused: None) -> None:
    with Client(url) as client:
        client.check()
        assert client.submit(IMAGE, idempotency_key="a").wait(WAIT_S)
        client.submit(IMAGE, reuse=False).cancel()
        client.stats(), client.dead(), client.gc()
    env = {"MASKQ_BROKER_URL": url}
    for command in ("stats",), ("dead", "list"), ("gc", "--dry-run"):
        done = maskq(*command, env=env)
        assert done.returncode == 0, done.stderr


def test_the_gateway(url: str, nothing_refused: None) -> None:
    with serving("serve", url=url) as gateway:
        until(lambda: _get(f"{gateway}/readyz", lambda answer: answer.status_code == 200), WAIT_S)
        posted = httpx.post(f"{gateway}/v1/jobs", content=IMAGE, headers={"content-type": "image/png"})
        job = gateway + posted.json()["links"]["self"]
        assert httpx.get(f"{job}/result?wait=60", timeout=WAIT_S).status_code == 200
        assert b"done" in httpx.get(f"{job}/events", timeout=WAIT_S).content


def test_flower(url: str, redis_port: int, nothing_refused: None) -> None:
    with (
        serving("worker", "flower", url=f"redis://flower:password@127.0.0.1:{redis_port}/0") as flower,
        Client(url) as client,
    ):
        until(lambda: _get(f"{flower}/metrics", lambda answer: answer.status_code == 200), WAIT_S)

        def counted() -> bool:
            client.submit(IMAGE, reuse=False).wait(WAIT_S)
            return _get(f"{flower}/metrics", lambda answer: "task-succeeded" in answer.text)

        until(counted, WAIT_S)
        for page in "workers", "tasks", "broker":
            assert httpx.get(f"{flower}/{page}").status_code == 200


@pytest.mark.parametrize("command", ["worker cluster", "worker device --devices cpu", "up"])
def test_what_a_worker_lacks_is_said_at_its_start(redis_port: int, tmp_path: Path, command: str) -> None:
    client = f"redis://client:password@127.0.0.1:{redis_port}/0"
    done = maskq(*command.split(), env={"MASKQ_BROKER_URL": client, "MASKQ_STATE_DIR": str(tmp_path)})
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "ACL SETUSER client ~_kombu.* &/0.celery.pidbox +script|exists +subscribe" in done.stderr


def test_a_user_of_less_is_told_what_it_lacks(redis_port: int) -> None:
    redis: Any = Redis(port=redis_port)
    redis.execute_command("ACL", "SETUSER", "guest", "on", ">password", "~maskq:*", "+@all")
    with (
        Client(f"redis://guest:password@127.0.0.1:{redis_port}/0") as client,
        pytest.raises(BrokerUnavailable, match=r"ACL SETUSER guest ~embed\.\* ~cluster\* &maskq:\* &/0\.celeryev/\*"),
    ):
        client.submit(IMAGE)
