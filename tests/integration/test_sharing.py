"""Equal jobs with real workers: each has a result of its own, the work is done once, and no one waits for nothing."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from maskq import Client, Job, JobCancelled, JobDead, JobFailed, Options, Settings, State
from maskq.segmentation.models.registry import SHIPPED
from maskq.workers.local.stack import Stack
from tests.conftest import png, until
from tests.faulty_device import HEIGHTS, hang
from tests.integration.conftest import asleep, forgive_deaths, running_with_faults

WAIT_S = 60
#: Thresholds so low that every image has objects.
ANYTHING = Options(seed_threshold=0.5, min_pixels=0)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module", params=["in Redis", "in files"])
def stack(
    request: pytest.FixtureRequest, faults: Path, models: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    store = "redis" if request.param == "in Redis" else f"file://{tmp_path_factory.mktemp('store')}"
    settings = Settings(
        devices="cpu",
        cluster_processes=1,
        torch_threads=1,
        lease_s=2,
        resend_s=1,
        max_attempts=1,
        device_limit_s=2,
        heartbeat_s=5,
        models=str(models),
        store_url=store,
        reuse=True,
    )
    with running_with_faults(settings, faults) as up:
        yield up


@pytest.fixture(autouse=True)
def _forgiven(stack: Stack) -> None:
    forgive_deaths(stack)


def image(seed: int, height: int = 32) -> bytes:
    """An image that no other test submits."""
    return png(np.random.default_rng(seed).integers(0, 255, (height, 40), np.uint8))


def computed(*jobs: Job) -> list[bool]:
    """Whether a device computed each job, instead of its having a copy."""
    return [State.EMBEDDED in job.status().times for job in jobs]


def device_images(client: Client) -> int:
    """The images that the device has run until now: by a report of its counters that was made after this call."""
    called = time.time() + 1  # reports have whole seconds
    (entry,) = until(lambda: [e for e in client.stats().devices.values() if e["time"] > called], WAIT_S)
    return int(entry["images"])


def test_equal_images_of_a_folder_have_results_of_their_own(stack: Stack, tmp_path: Path) -> None:
    (tmp_path / "plate").mkdir()
    for name in ("A1", "A2", "A3"):
        (tmp_path / "plate" / f"{name}.png").write_bytes(image(1))
    environment = {"MASKQ_BROKER_URL": stack.settings.broker_url or "", "MASKQ_STORE_URL": stack.settings.store_url}

    def maskq(*arguments: str) -> str:
        command = [sys.executable, "-m", "maskq", *arguments]
        return subprocess.run(
            command, check=True, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True
        ).stdout

    ids = maskq("submit", "plate", "--client", "folder").split()
    assert len(set(ids)) == 3
    maskq("result", *ids, "--wait", str(WAIT_S), "--out", "out")
    results = [json.loads((tmp_path / "out" / f"{name}.json").read_text()) for name in ("A1", "A2", "A3")]
    assert results[0]["objects"] == results[1]["objects"] == results[2]["objects"]
    jobs = [json.loads(line) for line in maskq("status", *ids, "--json").splitlines()]
    assert [job["spec"]["name"] for job in jobs] == ["A1.png", "A2.png", "A3.png"]


def test_a_hundred_equal_images_at_once_are_computed_once(client: Client) -> None:
    before = device_images(client)
    jobs = [client.submit(image(2), name=f"{n}.png", options=ANYTHING) for n in range(100)]
    results = [job.wait(WAIT_S) for job in jobs]
    assert results[0].objects and all(result.objects == results[0].objects for result in results)
    assert {result.label_file for result in results} == {results[0].label_file}
    assert [result.job.spec.name for result in results] == [f"{n}.png" for n in range(100)]
    assert sum(computed(*jobs)) == 1 == device_images(client) - before
    assert client.stats().unfinished == 0


def test_clients_share_no_work_and_no_job(client: Client) -> None:
    before = device_images(client)
    jobs = [client.submit(image(3), client=name, name=f"{name}.png") for name in ("a", "b", "")]
    assert len({job.id for job in jobs}) == 3
    assert [job.wait(WAIT_S).job.spec.name for job in jobs] == ["a.png", "b.png", ".png"]
    assert device_images(client) - before == 3


def test_with_the_setting_clients_share_work(stack: Stack) -> None:
    settings = stack.settings.model_copy(update={"share_across_clients": True})
    with Client(settings=settings) as client:
        jobs = [client.submit(image(4), client=name) for name in ("a", "b")]
        assert [job.wait(WAIT_S).job.spec.client for job in jobs] == ["a", "b"]
        assert sorted(computed(*jobs)) == [False, True]


def test_without_reuse_each_is_computed(client: Client) -> None:
    jobs = [client.submit(image(5), reuse=False) for _ in range(3)]
    for job in jobs:
        job.wait(WAIT_S)
    assert computed(*jobs) == [True] * 3


def test_a_changed_model_and_a_new_version_give_new_results(client: Client, models: Path) -> None:
    folder, file = models / "mine", models / "mine" / "model.toml"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(SHIPPED / "nuclei", folder)

    def publish(path: Path, version: int, min_pixels: int) -> None:
        changed = {"name": '"mine"', "version": f"{version}", "min_pixels": f"{min_pixels}", "seed_threshold": "0.5"}
        lines = [line for line in file.read_text().splitlines() if line.split(" = ")[0] not in changed]
        path.write_text("\n".join([*lines, *(f"{name} = {value}" for name, value in changed.items())]))

    def segment() -> Job:
        job = client.submit(image(6), model="mine")
        job.wait(WAIT_S)
        return job

    publish(file, 1, min_pixels=0)
    time.sleep(2.5)  # another model of this name may be known, from the stack before
    first, second = segment(), segment()
    assert computed(first, second) == [True, False]
    assert first.result().objects == second.result().objects != ()
    publish(file, 1, min_pixels=1_000_000)
    time.sleep(2.5)  # the registry looks again after two seconds
    changed = segment()
    assert (changed.result().model, changed.result().objects) == ("mine@1", ())
    shutil.copytree(folder, folder / "9", ignore=shutil.ignore_patterns("9"))
    publish(folder / "9" / "model.toml", 9, min_pixels=0)
    time.sleep(2.5)
    newer = segment()
    assert newer.result().model == "mine@9" and newer.result().objects
    assert computed(segment()) == [False]


def test_a_cancelled_job_leaves_its_work_to_those_that_wait(client: Client) -> None:
    with asleep("maskq.workers.cluster"):
        leader = client.submit(image(7))
        until(lambda: leader.state is State.EMBEDDED)
        followers = [client.submit(image(7)) for _ in range(3)]
        until(lambda: all(State.EMBEDDING in job.status().times for job in followers))
        assert {job.state for job in followers} == {State.QUEUED}
        followers[0].cancel()
        assert leader.state is State.EMBEDDED
        leader.cancel()
        until(lambda: followers[1].state is State.EMBEDDED)
        assert followers[2].state is State.QUEUED
    for cancelled in (leader, followers[0]):
        with pytest.raises(JobCancelled):
            cancelled.wait(WAIT_S)
    for job in followers[1:]:
        job.wait(WAIT_S)
    assert computed(*followers[1:]) == [True, False]


def test_an_urgent_job_does_not_wait_for_a_patient_one_between_its_stages(client: Client) -> None:
    with asleep("maskq.workers.cluster"):
        patient = client.submit(image(8), priority=0)
        until(lambda: patient.state is State.EMBEDDED)
        urgent = client.submit(image(8), priority=9)
        until(lambda: urgent.state is State.EMBEDDED)
    assert urgent.wait(WAIT_S).objects == patient.wait(WAIT_S).objects
    assert computed(urgent, patient) == [True, True]


def test_jobs_that_wait_for_one_that_breaks_its_device_are_done(client: Client, faults: Path) -> None:
    height = next(height for height, fault in HEIGHTS.items() if fault is hang)
    faults.write_text(str(height))
    leader = client.submit(image(9, height))
    until(lambda: leader.state is State.EMBEDDING)
    followers = [client.submit(image(9, height)) for _ in range(3)]
    with pytest.raises(JobDead):
        leader.wait(WAIT_S)
    for job in followers:
        job.wait(WAIT_S)
    assert sum(computed(*followers)) == 1


def test_equal_files_that_are_no_images_fail_one_by_one_under_their_own_names(client: Client) -> None:
    jobs = [client.submit(b"no image", name=f"{n}.png") for n in range(20)]
    for number, job in enumerate(jobs):
        with pytest.raises(JobFailed, match=rf"^{number}\.png: "):
            job.wait(WAIT_S)


def test_a_stack_is_split_once_and_each_has_the_whole_result(client: Client) -> None:
    planes = np.random.default_rng(11).integers(0, 255, (3, 24, 24), np.uint8)
    options = Options(seed_threshold=0.5, min_pixels=0, planes="all", axes="ZYX")
    jobs = [client.submit(planes, name=f"{n}.npy", options=options) for n in range(3)]
    results = [job.wait(WAIT_S) for job in jobs]
    assert [result.job.planes is not None for result in results] == computed(*jobs)
    assert sum(computed(*jobs)) == 1
    assert {(result.axes, result.shape, result.planes) for result in results} == {("ZYX", (3,), (1, 2, 3))}
    assert results[0].objects and all(result.objects == results[0].objects for result in results)


def test_the_result_that_is_deleted_was_nobody_elses(client: Client) -> None:
    jobs = [client.submit(image(10), options=ANYTHING) for _ in range(2)]
    results = [job.wait(WAIT_S) for job in jobs]
    client.drop(jobs[0].id)
    assert jobs[1].result().objects == results[0].objects != ()
    third = client.submit(image(10), options=ANYTHING)
    assert third.wait(WAIT_S).objects == results[0].objects
