"""Workers that are stopped return their jobs to the queue; a clustering that is cancelled or hangs is killed."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest

from maskq import Client, Job, JobCancelled, Settings, State
from maskq.producer.schema import Stage
from maskq.workers.device.spec import DeviceSpec
from maskq.workers.local import stack as stacks
from maskq.workers.local.stack import Stack, running
from maskq.workers.programs import cluster_program, device_program
from maskq.workers.supervision.process import Program
from tests.conftest import processes, until
from tests.faulty_device import FAULTS, HEIGHTS, hang
from tests.integration.conftest import forgive_deaths, with_module
from tests.slow_cluster import SLOWLY

WAIT_S = 60
HANGS = next(height for height, fault in HEIGHTS.items() if fault is hang)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("slow")
    (folder / "faults").write_text("")
    return folder


@pytest.fixture(scope="module")
def stack(folder: Path) -> Iterator[Stack]:
    def faulty(spec: DeviceSpec, settings: Settings) -> Program:
        return with_module(device_program(spec, settings), "tests.faulty_device", {FAULTS: str(folder / "faults")})

    def slow(settings: Settings) -> Program:
        return with_module(cluster_program(settings), "tests.slow_cluster", {SLOWLY: str(folder / "slowly")})

    settings = Settings(
        devices="cpu", cluster_processes=1, torch_threads=1, grace_s=4, lease_s=30, resend_s=30, stage_limit_s=6
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stacks, "device_program", faulty)
        patch.setattr(stacks, "cluster_program", slow)
        with running(settings) as stack:
            yield stack


@pytest.fixture(autouse=True)
def _all_up(stack: Stack) -> None:
    forgive_deaths(stack)
    stack.supervisor.wait_ready(WAIT_S)


def supervised(module: str) -> psutil.Process:
    """The module's process that the supervisor started, not its forks."""
    return next(process for process in processes(module) if process.ppid() == psutil.Process().pid)


def living(candidates: list[psutil.Process]) -> list[psutil.Process]:
    return [process for process in candidates if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]


def wait_for_state(job: Job, state: State) -> None:
    until(lambda: job.state is state, WAIT_S)


def image(rows: int = 32) -> np.ndarray:
    return np.full((rows, 32), 9, np.uint8)


@pytest.mark.parametrize("signals", [1, 2])
def test_a_stopped_device_worker_returns_unfinished_jobs(client: Client, folder: Path, signals: int) -> None:
    (folder / "faults").write_text(str(HANGS))
    job = client.submit(image(HANGS))
    wait_for_state(job, State.EMBEDDING)
    start = time.monotonic()
    process = supervised("tests.faulty_device")
    for _ in range(signals):
        process.send_signal(signal.SIGTERM)
        until(lambda: process.status() != psutil.STATUS_STOPPED)
        time.sleep(0.1)  # two signals at the same time would count as one
    until(lambda: not living([process]), WAIT_S)
    took = time.monotonic() - start
    assert took < 2.5 if signals == 2 else 3 < took < 10
    result = job.wait(WAIT_S)
    assert (result.job.attempts, result.job.history) == ({Stage.EMBED: 1, Stage.CLUSTER: 1}, ())


def test_a_stopped_cpu_worker_returns_unfinished_jobs(client: Client, folder: Path) -> None:
    (folder / "slowly").touch()
    job = client.submit(image())
    wait_for_state(job, State.CLUSTERING)
    process = supervised("tests.slow_cluster")
    process.send_signal(signal.SIGTERM)
    until(lambda: job.state is State.EMBEDDED, WAIT_S)
    (folder / "slowly").unlink()
    result = job.wait(WAIT_S)
    assert (result.job.attempts, result.job.history) == ({Stage.EMBED: 1, Stage.CLUSTER: 1}, ())


def test_a_cancelled_clustering_is_killed_and_the_worker_goes_on(client: Client, folder: Path) -> None:
    (folder / "slowly").touch()
    job = client.submit(image())
    wait_for_state(job, State.CLUSTERING)
    forks = living(supervised("tests.slow_cluster").children())
    assert job.cancel() is State.CANCELLED
    with pytest.raises(JobCancelled, match="cancelled while clustering"):
        job.wait(WAIT_S)
    until(lambda: not living(forks), WAIT_S)
    (folder / "slowly").unlink()
    assert client.submit(image()).wait(WAIT_S).job.attempts[Stage.CLUSTER] == 1


def test_a_clustering_that_hangs_is_killed_and_counts_as_an_attempt(client: Client, folder: Path) -> None:
    (folder / "slowly").touch()
    job = client.submit(image())
    wait_for_state(job, State.CLUSTERING)
    forks = living(supervised("tests.slow_cluster").children())
    until(lambda: not living(forks), WAIT_S)
    (folder / "slowly").unlink()
    result = job.wait(2 * WAIT_S)
    assert result.job.attempts[Stage.CLUSTER] == 2
    assert "it took longer than it may" in result.job.history[0].error
