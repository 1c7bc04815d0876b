"""Flower's counters through restarts of workers, of Redis and of Flower; its login, its names, its variables."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
import psutil
import pytest
from redis import Redis
from redis.exceptions import RedisError

from maskq import Client, Job, Settings, State
from maskq.workers.device.spec import DeviceSpec
from maskq.workers.local import stack as stacks
from maskq.workers.local.ports import free_port
from maskq.workers.local.redis_server import private_redis
from maskq.workers.local.stack import Stack, running
from maskq.workers.programs import InvalidFlower, cluster_program, device_program, flower_program
from maskq.workers.supervision.process import Program
from maskq.workers.supervision.supervisor import Supervisor
from tests.conftest import processes, until
from tests.faulty_device import FAULTS, HEIGHTS, hang
from tests.integration.conftest import forgive_deaths, with_module
from tests.slow_cluster import SLOWLY

WAIT_S = 90
HANGS = next(height for height, fault in HEIGHTS.items() if fault is hang)


class RedisProcess:
    """A Redis that the tests stop and start."""

    def __init__(self, folder: Path) -> None:
        self._server = private_redis(folder)
        self.url = self._server.url
        self.start()

    def start(self) -> None:
        self._process = subprocess.Popen(self._server.program.argv, stdout=subprocess.DEVNULL)
        until(self._answers)

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait()

    def _answers(self) -> bool:
        with Redis.from_url(self.url) as redis:
            try:
                return bool(redis.ping())
            except RedisError:
                return False


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("flower")
    (folder / "faults").write_text("")
    return folder


@pytest.fixture(scope="module")
def own_redis(folder: Path) -> Iterator[RedisProcess]:
    server = RedisProcess(folder / "redis")
    yield server
    server.stop()


@pytest.fixture(scope="module")
def stack(folder: Path, own_redis: RedisProcess) -> Iterator[Stack]:
    def faulty(spec: DeviceSpec, settings: Settings) -> Program:
        return with_module(device_program(spec, settings), "tests.faulty_device", {FAULTS: str(folder / "faults")})

    def slow(settings: Settings) -> Program:
        return with_module(cluster_program(settings), "tests.slow_cluster", {SLOWLY: str(folder / "slowly")})

    settings = Settings(
        broker_url=own_redis.url,
        devices="cpu",
        cluster_processes=1,
        torch_threads=1,
        flower_port=0,
        flower_unauthenticated_api=True,
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stacks, "device_program", faulty)
        patch.setattr(stacks, "cluster_program", slow)
        with running(settings, flower=True) as stack:
            yield stack


@pytest.fixture(autouse=True)
def _all_up(request: pytest.FixtureRequest) -> None:
    if "stack" in request.fixturenames:
        stack = request.getfixturevalue("stack")
        forgive_deaths(stack)
        stack.supervisor.wait_ready(WAIT_S)


def supervised(module: str) -> psutil.Process:
    """The module's process that the supervisor started, not its forks."""
    return next(process for process in processes(module) if process.ppid() == psutil.Process().pid)


def metrics(stack: Stack) -> str:
    """Flower's metrics; none while it is being started again."""
    try:
        return httpx.get(f"{stack.flower_url}/metrics", timeout=WAIT_S).text
    except httpx.TransportError:
        return ""


def counts(stack: Stack) -> Counter[tuple[str, str]]:
    """How often Flower has heard of each event, by the name of the task and what happened to it."""
    found: Counter[tuple[str, str]] = Counter()
    for labels, value in re.findall(r"^flower_events_total\{(.*?)\} (\S+)", metrics(stack), re.MULTILINE):
        told = dict(re.findall(r'(\w+)="(.*?)"', labels))
        if told["type"].startswith("task-"):
            found[told["task"], told["type"]] += int(float(value))
    return found


def heartbeats(stack: Stack) -> int:
    """How often Flower has heard from workers."""
    workers = httpx.get(f"{stack.flower_url}/workers", params={"json": 1}, timeout=WAIT_S).json()["data"]
    return sum(worker.get("worker-heartbeat", 0) for worker in workers)


def started(stack: Stack) -> list[str]:
    """The tasks that run, in Flower's opinion."""
    tasks = httpx.get(f"{stack.flower_url}/api/tasks", params={"state": "STARTED"}, timeout=WAIT_S).json()
    return list(tasks)


def finished(jobs: list[Job]) -> None:
    """Wait until all jobs are done."""
    for job in jobs:
        job.wait(WAIT_S)


def image(rows: int = 32) -> np.ndarray:
    return np.full((rows, 32), 9, np.uint8)


#: What happens to each task of a job that goes well.
COURSE = ("task-sent", "task-received", "task-started", "task-succeeded")


def course(jobs: int) -> Counter[tuple[str, str]]:
    """The counts of so many jobs that went well."""
    return Counter({(task, event): jobs for task in ("tasks.embed", "tasks.cluster") for event in COURSE})


def test_every_event_of_every_job_is_counted_however_often_the_metrics_are_read(client: Client, stack: Stack) -> None:
    before = counts(stack)
    finished([client.submit(image()) for _ in range(5)])
    until(lambda: counts(stack) - before == course(5), WAIT_S)
    assert counts(stack) - before == course(5)


def test_what_a_device_worker_finishes_while_it_shuts_down_is_counted(client: Client, stack: Stack) -> None:
    before = counts(stack)
    noise = np.random.default_rng(0).integers(0, 255, (400, 400), np.uint8)
    jobs = [client.submit(noise) for _ in range(6)]
    until(lambda: any(job.state is State.EMBEDDING for job in jobs), WAIT_S)
    supervised("tests.faulty_device").send_signal(signal.SIGTERM)
    finished(jobs)
    until(lambda: (counts(stack) - before)["tasks.embed", "task-succeeded"] == 6, WAIT_S)
    until(lambda: not started(stack), WAIT_S)


def test_what_a_device_worker_returns_to_the_queue_at_its_end_does_not_run_for_ever(
    client: Client, folder: Path, stack: Stack
) -> None:
    (folder / "faults").write_text(str(HANGS))
    job = client.submit(image(HANGS))
    until(lambda: job.state is State.EMBEDDING and started(stack), WAIT_S)
    process = supervised("tests.faulty_device")
    before = counts(stack)
    for _ in range(2):
        process.send_signal(signal.SIGTERM)
        time.sleep(0.2)  # two signals at the same time would count as one
    job.wait(WAIT_S)
    until(lambda: not started(stack), WAIT_S)
    assert (counts(stack) - before)["tasks.embed", "task-retried"] == 1


def test_a_task_that_ran_when_flower_started_has_its_name(client: Client, folder: Path, stack: Stack) -> None:
    (folder / "slowly").touch()
    job = client.submit(image())
    until(lambda: job.state is State.CLUSTERING, WAIT_S)
    supervised("maskq.workers.flower").kill()
    until(lambda: not metrics(stack))
    until(lambda: 'flower_worker_online{worker="cluster' in metrics(stack), WAIT_S)
    (folder / "slowly").unlink()
    job.wait(WAIT_S)
    until(lambda: counts(stack)["tasks.cluster", "task-succeeded"], WAIT_S)
    assert {task for task, _ in counts(stack)} == {"tasks.cluster"}


def test_flower_listens_again_after_an_outage_of_redis(client: Client, own_redis: RedisProcess, stack: Stack) -> None:
    before = counts(stack)
    own_redis.stop()
    log = stack.log_dir / "flower.log"
    until(lambda: "the broker does not answer" in log.read_text(), WAIT_S)
    own_redis.start()
    beats = heartbeats(stack)
    until(lambda: heartbeats(stack) > beats, WAIT_S)
    finished([client.submit(image()) for _ in range(5)])
    done = ("tasks.embed", "task-succeeded"), ("tasks.cluster", "task-succeeded")
    until(lambda: [(counts(stack) - before)[kind] for kind in done] == [5, 5], WAIT_S)


def test_the_queries_of_the_page_about_flower_name_what_it_measures(stack: Stack) -> None:
    page = (Path(__file__).parents[2] / "docs" / "flower.md").read_text()
    asked, told = set(re.findall(r"\bflower_[a-z_]+[a-z]", page)), metrics(stack)
    assert len(asked) == 3
    assert all(f"\n{name}{{" in told for name in asked)
    for value in re.findall(r'(?:task|type)="[a-z.-]+"', page):
        assert value in told or value == 'type="task-failed"'


def test_a_name_is_text_on_flowers_page(client: Client, stack: Stack) -> None:
    job = client.submit(image(), name="<img src=x onerror=alert(1)>\x1b[31m\u202e.png")
    job.wait(WAIT_S)
    page = until(lambda: httpx.get(f"{stack.flower_url}/task/{job.id}-embed-1", timeout=WAIT_S).text)
    assert "&lt;img src=x onerror=alert(1)&gt;\\x1b[31m\\u202e.png" in page
    assert not {"\x1b", "\u202e"} & set(page)


#: Listens for events on a broker, and handles none.
LISTEN = """
import sys
from maskq import Settings
from maskq.tasks.celery_app import create_app
from maskq.workers.flower.events import Capture

Capture(create_app(Settings(broker_url=sys.argv[1])), None, max_tasks_in_memory=1).run()
"""


def test_pauses_do_not_grow_while_redis_is_away() -> None:
    with socket.create_server(("127.0.0.1", 0)) as away:
        away.settimeout(WAIT_S)
        url = f"redis://127.0.0.1:{away.getsockname()[1]}/0"
        listener = subprocess.Popen([sys.executable, "-c", LISTEN, url], stderr=subprocess.DEVNULL)
        try:
            away.accept()[0].close()
            first = time.monotonic()
            for _ in range(40):
                away.accept()[0].close()
            assert time.monotonic() - first < 60, "Flower's own pauses: 1, 2, 4, 8, 16, 32 s"
        finally:
            listener.kill()
            listener.wait()


@contextmanager
def flower(settings: Settings, log_dir: Path) -> Iterator[str]:
    """The address of a Flower with these settings, alone on its Redis."""
    port = free_port()
    supervisor = Supervisor(log_dir)
    try:
        supervisor.start(flower_program(settings, port))
        supervisor.wait_ready(WAIT_S)
        yield f"http://127.0.0.1:{port}"
    finally:
        supervisor.stop(grace_s=5)


def test_a_password_is_taken_whole_and_another_applications_variables_are_not(
    redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    password = "a,b$c: d,me:short"
    monkeypatch.setenv("FLOWER_BASIC_AUTH", "theirs:theirs")
    monkeypatch.setenv("FLOWER_URL_PREFIX", "theirs")
    settings = Settings(broker_url=redis_url, flower_basic_auth=f"me:{password}")
    with flower(settings, tmp_path) as url:
        logins = [("me", password), ("me", "a"), ("me", "short"), ("b$c", " d"), ("me", ""), ("theirs", "theirs")]
        assert [httpx.get(f"{url}/tasks", auth=login).status_code for login in logins] == [200, *[401] * 5]
        assert httpx.get(f"{url}/metrics").status_code == 200
        assert httpx.get(f"{url}/api/workers").status_code == 401
        assert httpx.get(f"{url}/api/workers", auth=("me", password)).status_code == 200
    assert "FLOWER_BASIC_AUTH, FLOWER_URL_PREFIX: another application's" in (tmp_path / "flower.log").read_text()


def test_flower_answers_to_its_own_names_only(redis_url: str, tmp_path: Path) -> None:
    configuration = tmp_path / "flower.py"
    configuration.write_text("max_tasks = 7\nread_only = False\nport = 1\n")
    settings = Settings(
        broker_url=redis_url, flower_hosts="flower.lab.example, other.example", flower_conf=configuration
    )
    with flower(settings, tmp_path) as url:
        hosts = ["127.0.0.1:5555", "[::1]:5555", "localhost", "flower:5555", "Flower.lab.example", "other.example:80"]
        foreign = ["attacker.example", "attacker.example:5555", "127.0.0.1.attacker.example", "lab.example"]
        for path in ("/", "/metrics", "/api/tasks"):
            assert [status(url + path, host) for host in foreign] == [421] * 4
        assert [status(f"{url}/", host) for host in hosts] == [200] * 6


def status(url: str, host: str) -> int:
    """The status of the answer to a request for a host."""
    return httpx.get(url, headers={"Host": host}).status_code


@pytest.mark.parametrize(
    ("setting", "why"),
    [
        (
            {"flower_basic_auth": "password"},
            "^MASKQ_FLOWER_BASIC_AUTH: a name, a colon and a password are wanted, such as name:password$",
        ),
        (
            {"flower_basic_auth": "name:"},
            "^MASKQ_FLOWER_BASIC_AUTH: a name, a colon and a password are wanted, such as name:password$",
        ),
        ({"flower_conf": "/nowhere/flower.py"}, "no file /nowhere/flower.py"),
    ],
)
def test_what_flower_can_not_start_with_is_refused(setting: dict[str, str], why: str) -> None:
    with pytest.raises(InvalidFlower, match=why):
        flower_program(Settings.model_validate(setting), 5555)
