"""docs/places.md: what it says runs, in the places that can be had on one machine."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from redis import Redis

from maskq import BrokerUnavailable, Client, Settings
from maskq.workers.local.ports import free_port
from maskq.workers.local.redis_server import find_redis_server
from maskq.workers.local.stack import Stack, running
from tests.acceptance.processes import MASKQ, maskq, plain, start
from tests.conftest import png, until

PAGE = (Path(__file__).parents[2] / "docs" / "places.md").read_text()
IMAGE = png(np.random.default_rng(0).integers(0, 255, (64, 64), np.uint8))
WAIT_S = 120


def block(heading: str, language: str) -> str:
    """The first code block of a section."""
    section = PAGE.partition(f"## {heading}\n")[2]
    found = re.search(rf"```{language}\n(.*?)```", section, re.DOTALL)
    assert found
    return found[1]


@pytest.fixture(scope="module")
def redis_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """A Redis with the user `maskq` of the page."""
    port, folder = free_port(), tmp_path_factory.mktemp("redis")
    server = subprocess.Popen(
        [find_redis_server(), "--port", str(port), "--save", "", "--dir", str(folder)], stdout=subprocess.DEVNULL
    )
    try:
        redis: Any = Redis(port=port)
        until(lambda: _answers(redis))
        redis.execute_command(*block("Other people's Redis", "").split())
        yield port
    finally:
        server.terminate()
        server.wait()


def _answers(redis: Any) -> bool:
    try:
        return bool(redis.ping())
    except Exception:
        return False


@pytest.fixture(scope="module")
def stack(redis_port: int) -> Iterator[Stack]:
    """A whole stack as the page's user: what follows runs with its permissions."""
    url = f"redis://maskq:password@127.0.0.1:{redis_port}/0"
    settings = Settings(broker_url=url, devices="cpu", cluster_processes=1, flower_port=0, gateway_port=0)
    with running(settings, flower=True, gateway=True) as stack:
        yield stack


@pytest.fixture
def url(stack: Stack) -> str:
    return stack.settings.broker_url or ""


def test_the_permissions_of_the_page_suffice(stack: Stack, url: str, redis_port: int) -> None:
    redis: Any = Redis(port=redis_port)
    with Client(url) as client:
        client.check()
        assert client.submit(IMAGE, idempotency_key="a").wait(WAIT_S)
        client.submit(IMAGE, reuse=False).cancel()
        client.stats(), client.gc(), client.dead()
    posted = httpx.post(f"{stack.gateway_url}/v1/jobs", content=IMAGE, headers={"content-type": "image/png"})
    job = posted.json()["links"]["self"]
    assert httpx.get(f"{stack.gateway_url}{job}/result?wait=60", timeout=90).status_code == 200
    assert b"done" in httpx.get(f"{stack.gateway_url}{job}/events", timeout=60).content
    until(lambda: "task-succeeded" in httpx.get(f"{stack.flower_url}/metrics").text)
    assert redis.acl_log() == []


def test_a_missing_permission_is_named(redis_port: int, caplog: pytest.LogCaptureFixture) -> None:
    rules = block("Other people's Redis", "").replace("SETUSER maskq", "SETUSER blind").replace(" +info", "")
    redis: Any = Redis(port=redis_port)
    redis.execute_command(*rules.split())
    with Client(f"redis://blind:password@127.0.0.1:{redis_port}/0") as client:
        client.check()
        assert "may not run INFO" in caplog.text
        with pytest.raises(BrokerUnavailable, match="no permissions to run the 'info' command; give it the permission"):
            client.submit(IMAGE)
        assert client.stats().redis_bytes == 0
    redis.execute_command("ACL", "LOG", "RESET")


def test_a_celery_project(url: str, redis_port: int, tmp_path: Path) -> None:
    """The page's tasks in a real Celery worker that forks after the client was made, with a broker of its own."""
    broker = f"redis://127.0.0.1:{redis_port}/5"
    code = block("A Celery project of your own", "python").replace("redis://redis:6379/4", url)
    (tmp_path / "tasks.py").write_text(code)
    (tmp_path / "cells.png").write_bytes(IMAGE)
    env = plain({"CELERY_BROKER_URL": broker, "CELERY_RESULT_BACKEND": broker, "PYTHONPATH": str(tmp_path)})
    script = """
        import tasks
        tasks.app.conf.update(broker_url=BROKER, result_backend=BROKER)
        job = tasks.segment.delay("cells.png").get(timeout=60)
        print(tasks.store.delay(job).get(timeout=60))
    """
    script = textwrap.dedent(script).replace("BROKER", repr(broker))
    celery = [sys.executable, "-m", "celery", "-A", "tasks", "-b", broker, "--result-backend", broker]
    worker = subprocess.Popen([*celery, "worker", "-c", "2", "-P", "prefork"], cwd=tmp_path, env=env)
    try:
        done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, env=env, capture_output=True, text=True)
        assert done.stdout.strip().isdigit(), done.stderr
        segmented = maskq("run", tmp_path / "cells.png", "--out", tmp_path / "out", env=env | {"MASKQ_BROKER_URL": url})
        assert segmented.returncode == 0, segmented.stderr
    finally:
        worker.terminate()
        worker.wait(30)


def _objects(client: Client) -> int:
    return client.submit(IMAGE, reuse=False).wait(WAIT_S).count


def test_prefork_after_import_threads_and_an_event_loop(url: str) -> None:
    """gunicorn --preload, Django's and FastAPI's threads, a notebook's running loop: one client for all of them."""
    with Client(url) as client:
        expected = _objects(client)
        children = [os.fork() for _ in range(2)]
        if 0 in children:
            os._exit(0 if _objects(client) == expected else 1)
        assert [os.waitpid(child, 0)[1] for child in children] == [0, 0]
        with ThreadPoolExecutor(8) as threads:
            assert set(threads.map(_objects, [client] * 16)) == {expected}

        async def in_loop() -> list[int]:
            direct = _objects(client)  # as in a notebook's cell
            return [direct, *await asyncio.gather(*(asyncio.to_thread(_objects, client) for _ in range(3)))]

        assert set(asyncio.run(in_loop())) == {expected}


@pytest.mark.skipif(os.getuid() != 0 or not shutil.which("setpriv"), reason="only root can become another user")
def test_any_user_without_a_home_or_a_folder_to_write(redis_port: int, tmp_path: Path) -> None:
    """Workers as the page's uid, with its service variables, and with no folder that they could write."""
    deployment = block("Kubernetes", "yaml")
    (uid,) = re.findall(r"runAsUser: (\d+)", deployment)
    (kind,) = re.findall(r"args: \[maskq, worker, (\w+)\]", deployment)
    read_only = tmp_path / "read-only"
    read_only.mkdir(mode=0o755)
    env = {
        "MASKQ_BROKER_URL": f"redis://127.0.0.1:{redis_port}/6",
        "MASKQ_GATEWAY_PORT": "tcp://10.96.0.12:8000",
        "MASKQ_FLOWER_PORT": "tcp://10.96.0.13:5555",
        "MASKQ_CLUSTER_PROCESSES": "1",
        "HOME": "/nonexistent",
        "TMPDIR": str(read_only),
    }
    as_user = ["setpriv", f"--reuid={uid}", "--regid=0", "--clear-groups", "--inh-caps=+dac_read_search"]
    command = [*as_user, "--ambient-caps=+dac_read_search", *MASKQ, "worker"]  # to read this machine's Python only
    logs = [tmp_path / "cluster.log", tmp_path / "device.log"]
    workers = []
    kinds = [kind], ["device", "--devices", "cpu"]
    for log, arguments in zip(logs, kinds, strict=True):
        with log.open("w") as output:
            workers.append(
                subprocess.Popen([*command, *arguments], env=plain(env), stdout=output, stderr=output, cwd="/")
            )
    try:
        with Client(env["MASKQ_BROKER_URL"]) as client:
            until(lambda: client.stats().devices and client.stats().cluster_workers, WAIT_S)
            assert client.submit(IMAGE).wait(WAIT_S)
    except BaseException:
        print(*(log.read_text() for log in logs))
        raise
    finally:
        for worker in workers:
            worker.terminate()
        for worker in workers:
            worker.wait(60)


def test_two_jobs_of_one_node_are_told_apart_and_use_their_cores(redis_port: int) -> None:
    env = {"MASKQ_BROKER_URL": f"redis://127.0.0.1:{redis_port}/7"}
    workers = [start("worker", "device", "--devices", "cpu", env=env) for _ in range(2)]
    try:
        with Client(env["MASKQ_BROKER_URL"]) as client:
            nodes = until(lambda: _of_two(client), WAIT_S)
            assert {node.partition("@")[0] for node in nodes} == {"cpu", "cpu-2"}
            assert len(json.loads(maskq("stats", "--json", env=env).stdout)["devices"]) == 2
    finally:
        for worker in workers:
            worker.terminate()
        for worker in workers:
            worker.communicate(timeout=60)


def _of_two(client: Client) -> dict[str, Any] | None:
    devices = client.stats().devices
    return devices if len(devices) == 2 else None
