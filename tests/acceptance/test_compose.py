"""`docker compose up`, for real: images from the host, the masks that `maskq run` makes of them, Flower's figures.

The stack is a user's: a copy of the project with an `.env` beside `compose.yaml`, which changes while it runs.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.error import URLError
from urllib.request import Request, urlopen

import numpy as np
import pytest
from PIL import Image
from redis import Redis

from examples.samples import samples
from maskq import Client, Settings
from maskq.workers.local.ports import free_port

ROOT = Path(__file__).parents[2]
BUILT = ("device", "cluster", "gateway", "flower")
#: How often each picture is submitted.
ROUNDS = 4
NAME = f"maskq-test-{os.getpid()}"
# Seconds: what a slow machine may need, not what it takes.
BUILD_S, UP_S, MASKS_S, FLOWER_S, RUN_S, STOP_S = 1200, 180, 180, 60, 180, 120

needs_samples = pytest.mark.skipif(not samples(), reason="no package here ships a picture: install maskq[samples]")


#: The object store that `.env` names at last: a server of moto's, in a container of its own.
S3 = """
services:
  s3:
    build:
      context: .
      dockerfile_inline: |
        FROM python:3.11-slim
        RUN pip install "moto[s3,server]==5.*"
      network: host
    command: python -m moto.server -H 0.0.0.0 -p 5000
    ports: ["127.0.0.1:{port}:5000"]
"""
#: Stricter places than compose.yaml's own: any user, no writable root, both.
STRICT = """
services:
  device: {user: "4321:4321"}
  cluster: {read_only: true, tmpfs: [/tmp]}
  gateway: {user: "4321:4321", read_only: true, tmpfs: [/tmp]}
"""
SECRET = "secret-of-s3"
KEYS = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_DEFAULT_REGION": "us-east-1"}


@dataclass(frozen=True)
class Stack:
    """A running stack of a name, and of ports, of its own."""

    folder: Path
    command: tuple[str, ...]
    environment: dict[str, str]
    broker_url: str
    gateway_url: str
    flower_url: str
    s3_url: str

    def compose(self, *arguments: str, timeout_s: float) -> str:
        """What `docker compose …` prints, in the project's folder."""
        return run([*self.command, *arguments], self.environment, timeout_s, self.folder)

    def set(self, **settings: object) -> None:
        """Add lines to `.env`."""
        with (self.folder / ".env").open("a") as env:
            env.writelines(f"{name}={value}\n" for name, value in settings.items())

    def containers(self) -> list[dict[str, str | int]]:
        """The project's containers, the stopped ones too."""
        return [json.loads(line) for line in self.compose("ps", "-a", "--format=json", timeout_s=30).splitlines()]

    def flower(self, path: str) -> str:
        """Flower's answer; empty while it does not answer."""
        try:
            with urlopen(self.flower_url + path, timeout=20) as answer:
                text: str = answer.read().decode()
                return text
        except (URLError, ConnectionError, TimeoutError):
            return ""


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    if why := no_engine():
        if os.environ.get("CI") and os.environ.get("WITH_ENGINE") == "1":
            pytest.fail(f"an engine was promised, but {why}")
        pytest.skip(why)
    made = plan(tmp_path_factory.mktemp("compose"))
    try:
        made.compose("build", timeout_s=BUILD_S)
        made.compose("up", "--detach", timeout_s=UP_S)
        yield made
        made.compose("stop", timeout_s=STOP_S)
        ends = {container["Name"]: container["ExitCode"] for container in made.containers()}
        assert set(ends.values()) == {0}, f"some were killed, or failed: {ends}"
    finally:
        print(made.compose("logs", "--no-color", "--tail=50", timeout_s=60))  # pytest shows it where something failed
        made.compose("down", "--volumes", "--rmi=local", "--timeout=10", timeout_s=STOP_S)
        assert not made.containers()
        for kind in ("image", "network", "volume"):
            assert NAME not in run(["docker", kind, "ls"], plain(), 30)


def no_engine() -> str | None:
    """Why there is nothing to run containers with."""
    if not shutil.which("docker"):
        return "there is no docker on PATH"
    for question in ("compose version", "info"):
        asked = subprocess.run(["docker", *question.split()], capture_output=True, text=True, timeout=60, check=False)
        if asked.returncode:
            return f"`docker {question}` says: {(asked.stderr.strip() or 'nothing').splitlines()[0]}"
    return None


def plan(folder: Path) -> Stack:
    """A stack that meets no other on this host."""
    copy = folder / "maskq"
    unshipped = shutil.ignore_patterns(".*", "__pycache__", "*.egg-info", "shared", "tests", "findings")
    shutil.copytree(ROOT, copy, symlinks=True, ignore=unshipped)
    shutil.copy(ROOT / ".dockerignore", copy)
    redis, gateway, flower, s3 = (free_port() for _ in range(4))
    overrides = {"s3.yaml": S3.format(port=s3), "strict.yaml": STRICT}
    if os.environ.get("WITH_ENGINE") == "1":  # its containers have no way out, but builds install packages
        overrides["build.json"] = json.dumps({"services": {name: {"build": {"network": "host"}} for name in BUILT}})
    command = ["docker", "compose", f"--project-name={NAME}", "--file=compose.yaml"]
    for name, text in overrides.items():
        (copy / name).write_text(text)
        command.append(f"--file={name}")
    urls = [f"http://127.0.0.1:{port}" for port in (gateway, flower, s3)]
    made = Stack(copy, tuple(command), plain(), f"redis://127.0.0.1:{redis}/0", *urls)
    made.set(MASKQ_REDIS_PORT=redis, MASKQ_GATEWAY_PORT=gateway, MASKQ_FLOWER_PORT=flower, MASKQ_CLUSTER_REPLICAS=2)
    made.set(MASKQ_FLOWER_UNAUTHENTICATED_API="true", MASKQ_CLUSTER_PROCESSES=1)
    return made


def plain() -> dict[str, str]:
    """This process's environment without settings of maskq."""
    return {name: value for name, value in os.environ.items() if not name.startswith("MASKQ_")}


def run(command: list[str], environment: dict[str, str], timeout_s: float, folder: Path = ROOT) -> str:
    """The command's output; its errors in the failure where it fails."""
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=timeout_s, env=environment, cwd=folder, check=False
    )
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    return done.stdout


def eventually(look: Callable[[], Counter[str]], wanted: dict[str, int], timeout_s: float) -> None:
    """Look until what is wanted is there."""
    deadline = time.monotonic() + timeout_s
    while (seen := look()) != wanted:
        assert time.monotonic() < deadline, f"after {timeout_s} s there is {seen}, not {wanted}"
        time.sleep(0.5)


def online(stack: Stack) -> Counter[str]:
    """The workers from which Flower hears, counted by what they do: the name before the process id and the host."""
    nodes = re.findall(r'flower_worker_online\{worker="([a-z]+)[^"]*"\} 1\.0', stack.flower("/metrics"))
    return Counter(nodes)


def succeeded(stack: Stack) -> Counter[str]:
    """Tasks that Flower has seen succeed."""
    counts: Counter[str] = Counter()
    for labels, count in re.findall(r"flower_events_total\{(.*?)\} (\S+)", stack.flower("/metrics")):
        told = dict(re.findall(r'(\w+)="(.*?)"', labels))
        if told["type"] == "task-succeeded":
            counts[told["task"]] += int(float(count))
    return counts


@needs_samples
def test_a_client_on_the_host_gets_the_masks_of_maskq_run_and_flower_the_throughput(
    stack: Stack, tmp_path: Path
) -> None:
    nodes = {"cpu": 1, "cluster": 2}
    eventually(lambda: online(stack), nodes, UP_S)

    pictures = samples() * ROUNDS
    began = time.monotonic()
    with Client(stack.broker_url) as client:
        jobs = [client.submit(picture) for picture in pictures]
        deadline = began + MASKS_S
        results = [job.wait(timeout=max(1.0, deadline - time.monotonic())) for job in jobs]
    seconds = time.monotonic() - began

    everything = {"tasks.embed": len(pictures), "tasks.cluster": len(pictures)}
    eventually(lambda: succeeded(stack), everything, FLOWER_S)
    workers = json.loads(stack.flower("/api/workers?refresh=1"))
    assert Counter(re.split("[-@]", node)[0] for node in workers) == nodes
    print(f"{succeeded(stack)['tasks.cluster'] / seconds:.1f} images/s by Flower's count")

    maskq = str(Path(sys.executable).with_name("maskq"))
    run([maskq, "run", *map(str, samples()), f"--out={tmp_path}", "--devices=cpu"], plain(), RUN_S)
    for picture, result in zip(pictures, results, strict=True):
        with Image.open(tmp_path / f"{picture.stem}.labels.png") as labels:
            assert np.array_equal(result.labels, np.asarray(labels)), picture.name
    assert any(result.objects for result in results)


@needs_samples
def test_the_gateway_answers_on_the_host(stack: Stack) -> None:
    picture = Request(f"{stack.gateway_url}/v1/jobs", samples()[0].read_bytes(), {"Content-Type": "image/tiff"})
    eventually(lambda: Counter(ready=gateway(stack, "/readyz") is not None), {"ready": 1}, UP_S)
    with urlopen(picture, timeout=20) as answer:
        links = json.loads(answer.read())["links"]
    found = gateway(stack, f"{links['result']}?wait=60")
    told = json.loads(found or "{}")
    assert told["model"].startswith("nuclei@") and told["objects"]


def gateway(stack: Stack, path: str) -> str | None:
    """The gateway's answer; None while there is none."""
    try:
        with urlopen(stack.gateway_url + path, timeout=90) as answer:
            text: str = answer.read().decode()
            return text
    except (URLError, ConnectionError, TimeoutError):
        return None


@needs_samples
def test_services_that_end_start_again_and_no_job_is_lost(stack: Stack) -> None:
    with Client(stack.broker_url) as client:
        job = client.submit(samples()[0], reuse=False)
        stack.compose("exec", "-T", "redis", "redis-cli", "shutdown", timeout_s=60)
        stack.compose("exec", "-T", "device", "sh", "-c", "kill 1", timeout_s=60)
        assert job.wait(timeout=MASKS_S).objects


@needs_samples
def test_a_change_of_env_keeps_the_replicas_and_moves_the_payloads_to_s3(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    eventually(lambda: Counter(s3=created(f"{stack.s3_url}/payloads")), {"s3": True}, UP_S)
    stack.set(MASKQ_STORE_URL="s3://payloads/maskq", AWS_ENDPOINT_URL="http://s3:5000", **KEYS)
    stack.set(MASKQ_REDIS_MEMORY=256 << 20)
    stack.compose("up", "--detach", timeout_s=UP_S)
    running = Counter(str(container["Service"]) for container in stack.containers())
    assert running == {"redis": 1, "device": 1, "cluster": 2, "gateway": 1, "flower": 1, "s3": 1}

    for name, value in (KEYS | {"AWS_ENDPOINT_URL": stack.s3_url}).items():
        monkeypatch.setenv(name, value)
    settings = Settings(broker_url=stack.broker_url, store_url="s3://payloads/maskq")
    with Client(settings=settings) as client, Redis.from_url(stack.broker_url) as redis:
        until_up = time.monotonic() + UP_S
        job = client.submit(samples()[0], reuse=False, timeout=UP_S)
        assert job.wait(timeout=max(1.0, until_up - time.monotonic())).objects
        assert not redis.exists(f"maskq:payload:{job.id}:image") and job.image() == samples()[0].read_bytes()
        eventually(lambda: Counter(ready=gateway(stack, "/readyz") is not None), {"ready": 1}, UP_S)
        stored = json.loads(gateway(stack, f"/v1/jobs/{job.id}/result") or "{}")
        assert stored["objects"]
        assert redis.config_get("maxmemory")["maxmemory"] == str(256 << 20)


def test_a_secret_is_in_no_log_and_in_no_service_that_does_not_need_it(stack: Stack) -> None:
    assert SECRET not in stack.compose("logs", "--no-color", timeout_s=60)
    inspected = {
        str(container["Service"]): run(["docker", "inspect", str(container["ID"])], plain(), 30)
        for container in stack.containers()
    }
    assert {name for name, text in inspected.items() if SECRET in text} <= {"device", "cluster", "gateway"}


def created(bucket: str) -> bool:
    """Whether the bucket is made."""
    try:
        with urlopen(Request(bucket, method="PUT"), timeout=20):
            return True
    except (URLError, ConnectionError, TimeoutError):
        return False
