"""The fake client: jobs end as a test says, and results are real."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from maskq import (
    BrokerUnavailable,
    Client,
    InvalidJob,
    JobDead,
    JobExpired,
    JobFailed,
    Options,
    PayloadTooLarge,
    Settings,
    State,
    UnknownJob,
    WaitTimeout,
)
from maskq.segmentation.objects import describe
from maskq.testing import FakeClient
from tests.conftest import png

IMAGE = png(np.zeros((12, 20), np.uint8))


def manual(**settings: object) -> FakeClient:
    return FakeClient(on_submit=None, settings=Settings.model_validate({"reuse": True} | settings))


def test_it_loads_neither_redis_nor_torch() -> None:
    code = (
        "import sys\nfrom maskq.testing import FakeClient\nclient = FakeClient()\n"
        "client.map, list(client.map([b'a', b'b'])), client.stats(), client.gc(), client.check(), client.close()\n"
        "print(*{'redis', 'torch', 'celery', 'kombu', 'fsspec'} & set(sys.modules))"
    )
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert loaded.stdout.strip() == ""


def test_by_default_a_job_is_done_at_once_with_one_object_in_the_centre() -> None:
    client = FakeClient()
    assert isinstance(client, Client)
    result = client.submit(IMAGE, name="cells.png").wait(timeout=60)
    assert (result.size, result.model, result.labels.dtype) == ((12, 20), "nuclei@1", np.dtype(np.int32))
    (object_,) = result.objects
    assert object_.bbox == (5, 3, 10, 6) and object_.area == (result.labels == object_.id).sum() == 60
    assert result.job.timings["total"] >= 0 and result.job.attempts == {"embed": 1, "cluster": 1}


def test_objects_are_boxes_or_labels() -> None:
    client = manual()
    job, other = client.submit(IMAGE, model="nuclei@3"), client.submit(IMAGE + b" ")
    assert client.finish(job, objects=[(0, 0, 4, 3), (18, 10, 9, 9)])
    result = job.result()
    assert [(found.bbox, found.area) for found in result.objects] == [((0, 0, 4, 3), 12), ((18, 10, 2, 2), 4)]
    assert result.model == "nuclei@3"
    labels = np.zeros((12, 20), int)
    labels[2:4, 5:7], labels[9, 1] = 70_000, 3
    assert client.finish(other.id, labels=labels, model="mine@2")
    assert (other.result().labels == labels).all() and other.result().model == "mine@2"
    assert [found.id for found in other.result().objects] == [3, 70_000]
    with pytest.raises(ValueError, match="has no pixel in an image of 20 x 12"):
        client.finish(client.submit(IMAGE, reuse=False), objects=[(30, 0, 4, 3)])


@pytest.mark.parametrize("seed", range(5))
def test_objects_equal_those_of_the_cluster_stage(seed: int) -> None:
    random = np.random.default_rng(seed)
    labels = (random.integers(1, 4, (37, 261)) * (random.random((37, 261)) < 0.24 * seed)).astype(np.int32)
    labels[0, 0] = seed % 2
    job = (client := manual()).submit(IMAGE)
    client.finish(job, labels=labels)
    for found, expected in zip(job.result().objects, describe(labels, [1.0] * 3), strict=True):
        assert found.model_dump(exclude={"rle", "centroid", "plane"}) == {
            name: getattr(expected, name) for name in ("id", "score", "bbox", "area")
        }
        assert (found.rle.size, found.rle.counts) == (expected.size, expected.rle)
        assert found.centroid == pytest.approx(expected.centroid)


def test_a_job_ends_once_and_as_the_test_says() -> None:
    client = manual()
    failed, expired, dead = (client.submit(IMAGE, reuse=False) for _ in range(3))
    client.start(dead, State.CLUSTERING)
    assert client.fail(failed, "TruncatedImage", "cells.png: ends early") and client.expire(expired)
    assert client.kill(dead)
    assert not (client.finish(failed) or client.fail(failed) or client.start(failed))
    with pytest.raises(JobFailed, match="ends early") as error:
        failed.wait()
    assert error.value.error.type == "TruncatedImage" and error.value.error.stage == "embed"
    with pytest.raises(JobExpired):
        expired.result()
    with pytest.raises(JobDead):
        dead.wait()
    assert [letter.id for letter in client.dead(reason="gave up")] == [dead.id]
    assert client.requeue(dead.id) and dead.state is State.EMBEDDED and not client.requeue(dead.id)


def test_on_submit_decides_how_jobs_end() -> None:
    client = FakeClient(on_submit=lambda client, job: client.fail(job))
    outcomes = list(client.map([IMAGE, IMAGE], errors="return", reuse=False))
    assert [type(outcome) for outcome in outcomes] == [JobFailed, JobFailed]


def test_a_wait_ends_at_once_unless_another_thread_may_finish_the_job() -> None:
    with pytest.raises(WaitTimeout, match="is queued after 60 s"):
        manual().submit(IMAGE).wait(60)
    with pytest.raises(WaitTimeout, match="is queued; this FakeClient waits for 0 s at most"):
        manual().submit(IMAGE).wait()
    client = FakeClient(on_submit=None, max_wait_s=20)
    job = client.submit(IMAGE)
    finishing = threading.Timer(0.05, client.finish, [job])
    finishing.start()
    assert job.wait().size == (12, 20)
    finishing.join()


def test_during_an_outage_every_access_raises() -> None:
    client = manual()
    job = client.submit(IMAGE)
    with client.outage(BrokerUnavailable("away")):
        for access in (client.check, job.status, job.wait, job.cancel, client.stats, lambda: client.submit(IMAGE)):
            with pytest.raises(BrokerUnavailable, match="away"):
                access()
    assert job.state is State.QUEUED


def test_stats_count_the_jobs() -> None:
    client = manual()
    jobs = [client.submit(IMAGE, reuse=False) for _ in range(4)]
    client.start(jobs[0]), client.start(jobs[1], State.EMBEDDED), client.kill(jobs[2])
    stats = client.stats()
    assert {name: queue.waiting for name, queue in stats.queues.items()} == {
        "embed.fixed": 0,
        "embed.varied": 1,
        "cluster": 1,
    }
    assert (stats.working, stats.unfinished, stats.dead) == (1, 3, 1)
    assert [job.id for job in client.jobs] == [job.id for job in jobs]


def test_invalid_submissions_are_rejected(tmp_path: Path) -> None:
    client = manual(max_bytes=100)
    with pytest.raises(InvalidJob, match="priority"):
        client.submit(b"image", priority=10)
    with pytest.raises(InvalidJob, match="model"):
        client.submit(b"image", model="../nuclei")
    with pytest.raises(PayloadTooLarge):
        client.submit(bytes(101))
    with pytest.raises(FileNotFoundError):
        client.submit(tmp_path / "cells.png")
    with pytest.raises(UnknownJob):
        client.job("x").status()
    assert client.jobs == []


def test_an_ended_job_is_deleted_with_its_payloads() -> None:
    client = manual(retention_s=1)
    done, queued = client.submit(IMAGE), client.submit(IMAGE, options=Options(tta=True))
    client.finish(done)
    assert client.gc(dry_run=True) == {"jobs": 0, "orphans": 0}
    assert not client.drop(queued.id) and client.drop(done.id)
    with pytest.raises(UnknownJob):
        done.status()
    assert client.submit(IMAGE).state is State.QUEUED
