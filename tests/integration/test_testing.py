"""The fake client behaves as the real one: the same tests run against both."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pytest

from maskq import (
    Client,
    IdempotencyConflict,
    Job,
    JobCancelled,
    JobFailed,
    PayloadMissing,
    QueueFull,
    Result,
    ResultNotReady,
    Settings,
    State,
    UnknownJob,
    WaitTimeout,
)
from maskq.producer.client.sources import Source
from maskq.producer.schema import Failure
from maskq.testing import FakeClient
from tests.conftest import png
from tests.integration import simulated_worker

IMAGE = png(np.zeros((4, 6), np.uint8))
FAILURE = Failure(type="TruncatedImage", message="cells.png: ends early")


@dataclass
class Side:
    """A client, and what stands for its workers."""

    client: Client
    finish: Callable[[str], object]
    fail: Callable[[str], object]


@pytest.fixture(params=["fake", "real"])
def open_side(request: pytest.FixtureRequest) -> Iterator[Callable[..., Side]]:
    opened: list[Client] = []

    def fake(**settings: object) -> Side:
        client = FakeClient(on_submit=None, settings=Settings.model_validate({"reuse": True} | settings))
        opened.append(client)
        return Side(client, client.finish, lambda job_id: client.fail(job_id, FAILURE.type, FAILURE.message))

    def real(**settings: object) -> Side:
        url = request.getfixturevalue("redis_url")
        chosen = Settings.model_validate({"broker_url": url, "reuse": True} | settings)
        opened.append(Client(settings=chosen))
        return Side(
            opened[-1],
            lambda job_id: simulated_worker.finish(job_id, chosen),
            lambda job_id: simulated_worker.fail(job_id, chosen, FAILURE),
        )

    if request.param == "real":
        request.getfixturevalue("redis").flushall()
    yield fake if request.param == "fake" else real
    for client in opened:
        client.close()


@pytest.fixture
def side(open_side: Callable[..., Side]) -> Side:
    return open_side()


def test_a_job_goes_from_queued_to_its_result(side: Side) -> None:
    job = side.client.submit(IMAGE, name="cells.png", client="lab-7", priority=9)
    assert (job.state, job.image()) == (State.QUEUED, IMAGE)
    assert side.client.stats().queues["embed.varied"].waiting == side.client.stats().unfinished == 1
    with pytest.raises(ResultNotReady, match="is queued"):
        job.result()
    with pytest.raises(WaitTimeout, match="is queued after 0.05 s"):
        job.wait(timeout=0.05)
    side.finish(job.id)
    result = job.wait(timeout=5)
    assert result.job.state is State.DONE and result.job.spec.name == "cells.png"
    assert result.labels.shape == result.size and result.label_file == job.labels_file()
    assert list(result.job.timings) == ["queued", "embedding", "embedded", "clustering", "total"]
    assert job.cancel() is State.DONE and side.client.stats().unfinished == 0


def test_a_failed_job_raises_its_error(side: Side) -> None:
    job = side.client.submit(IMAGE)
    side.fail(job.id)
    for access in (job.wait, job.result, job.labels_file, job.objects_json):
        with pytest.raises(JobFailed, match="ends early") as raised:
            access()
    assert raised.value.job_id == job.id and raised.value.error == FAILURE.model_copy(update={"stage": "embed"})
    assert job.status().error == raised.value.error


def test_a_job_that_never_existed_is_unknown(side: Side) -> None:
    job = side.client.job("x")
    for access in (job.status, job.wait, job.result, job.cancel, lambda: job.state):
        with pytest.raises(UnknownJob, match="no job x"):
            access()
    assert not side.client.requeue("x")


def test_an_idempotency_key_means_one_job_per_client(side: Side) -> None:
    job = side.client.submit(IMAGE, client="a", idempotency_key="1")
    for other in ("b", ""):
        assert side.client.submit(IMAGE, client=other, idempotency_key="1").id != job.id
    side.fail(job.id)
    assert side.client.submit(IMAGE, client="a", idempotency_key="1", name="again").id == job.id
    with pytest.raises(IdempotencyConflict, match=job.id):
        side.client.submit(b"other", client="a", idempotency_key="1")
    assert side.client.submit(IMAGE, client="a").state is State.QUEUED


def test_equal_images_are_jobs_of_their_own(side: Side) -> None:
    job, equal = side.client.submit(IMAGE, name="one.png"), side.client.submit(IMAGE, name="two.png", priority=0)
    assert job.id != equal.id and equal.status().spec.name == "two.png"
    side.finish(job.id)
    assert (job.state, equal.state) == (State.DONE, State.QUEUED)


def test_a_job_is_cancelled_alone(side: Side) -> None:
    job, equal = side.client.submit(IMAGE), side.client.submit(IMAGE)
    assert job.cancel() is job.cancel() is State.CANCELLED
    with pytest.raises(JobCancelled, match="cancelled while queued"):
        job.wait()
    with pytest.raises(PayloadMissing):
        job.image()
    assert equal.state is State.QUEUED
    side.finish(equal.id)
    assert equal.cancel() is State.DONE


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"max_queued": 2}, "2 jobs are unfinished"),
        ({"max_client_queued": 2}, "2 jobs of this client are unfinished"),
        ({"max_queued_bytes": 2 * len(IMAGE)}, f"the images of unfinished jobs take {2 * len(IMAGE)} of"),
    ],
)
def test_a_full_queue_rejects_jobs_until_one_ends(
    open_side: Callable[..., Side], settings: dict[str, int], message: str
) -> None:
    side = open_side(**settings)
    jobs = [side.client.submit(IMAGE, reuse=False) for _ in range(2)]
    for timeout in (0, 0.1):
        with pytest.raises(QueueFull, match=message):
            side.client.submit(IMAGE, reuse=False, timeout=timeout)
    side.finish(jobs[0].id)
    side.client.submit(IMAGE, reuse=False)


def test_a_map_yields_results_and_errors_in_order(side: Side) -> None:
    job, numbers = side.client.submit(IMAGE, idempotency_key="0"), list[int]()
    side.finish(job.id)
    sources: list[Source] = [IMAGE, "none.png", IMAGE]
    outcomes = list(side.client.map(sources, errors="return", progress=numbers.append, idempotency_key="0"))
    assert [type(outcome).__name__ for outcome in outcomes] == ["Result", "FileNotFoundError", "Result"]
    assert numbers == [1, 2, 3]


def test_many_images_are_queued_and_each_is_refused_alone(open_side: Callable[..., Side]) -> None:
    side = open_side(max_queued=3)
    sources: list[Source] = [IMAGE, "none.png", IMAGE + b"2", IMAGE, IMAGE + b"3", IMAGE + b"4"]
    keys = {source: "k" for source in (IMAGE, IMAGE + b"2") if isinstance(source, bytes)}
    outcomes = list(
        side.client.submit_many(
            sources,
            errors="return",
            name="cells.png",
            idempotency_key=lambda source: keys.get(source) if isinstance(source, bytes) else None,
        )
    )
    kinds = ["Job", "FileNotFoundError", "IdempotencyConflict", "Job", "Job", "Job"]
    assert [type(outcome).__name__ for outcome in outcomes] == kinds
    jobs = [outcome for outcome in outcomes if isinstance(outcome, Job)]
    assert jobs[1].id == jobs[0].id and jobs[3].status().spec.name == "cells.png"
    with pytest.raises(QueueFull, match="3 jobs are unfinished"):
        next(side.client.submit_many([IMAGE]))


def test_jobs_come_in_the_order_of_their_ends(side: Side) -> None:
    first, second, third = side.client.submit_many([IMAGE, IMAGE + b"2", IMAGE + b"3"])
    completed = side.client.as_completed([first, second, third, side.client.job("x")], timeout=0.2)
    assert isinstance(next(completed)[1], UnknownJob)
    side.finish(third.id)
    job, result = next(completed)
    assert job is third and isinstance(result, Result) and result.label_file == third.labels_file()
    side.fail(first.id)
    job, error = next(completed)
    assert job is first and isinstance(error, JobFailed)
    with pytest.raises(WaitTimeout, match="1 jobs have not ended"):
        next(completed)
    assert second.state is State.QUEUED


def test_an_ended_job_is_deleted(side: Side) -> None:
    job = side.client.submit(IMAGE)
    assert not side.client.drop(job.id)
    side.finish(job.id)
    assert side.client.drop(job.id)
    with pytest.raises(UnknownJob):
        job.status()
    assert side.client.submit(IMAGE).state is State.QUEUED
    assert side.client.gc() == {"jobs": 0, "orphans": 0}
