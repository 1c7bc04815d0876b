"""Querying and cancelling a job, and its result: objects and labels."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maskq import Failure, InvalidJob, JobFailed, ResultNotReady, State
from maskq.producer.schema import Stage
from tests.unit.gateway.fakes import HERE, JOB, OBJECT, PNG, STATUS, TIFF, Http, assert_problem, open_http


def test_the_status_of_a_job(http: Http) -> None:
    status = http("GET", HERE).json()
    assert (status["job_id"], status["state"], status["name"], status["error"]) == (JOB, "done", "cells.png", None)
    assert status["timings"] == {"queued": 1.0, "embedding": 1.5, "embedded": 0.5, "clustering": 1.0, "total": 4.0}
    assert status["attempts"] == {"embed": 1, "cluster": 1}
    assert status["links"]["result"] == f"{HERE}/result"


def test_the_result_has_every_object(http: Http) -> None:
    response = http("GET", f"{HERE}/result")
    assert response.headers["content-type"] == "application/json"
    assert response.json() == {
        "job_id": JOB,
        "image": "cells.png",
        "height": 2,
        "width": 2,
        "model": "nuclei@1",
        "timings": STATUS.timings,
        "objects": [OBJECT.model_dump(mode="json", exclude_none=True)],
    }


def test_stored_objects_that_are_invalid_are_500(http: Http) -> None:
    http.client.current_job.objects = b"[]"
    assert_problem(http("GET", f"{HERE}/result"), 500, None)


@settings(deadline=None, max_examples=30)
@given(size=st.integers(0, 3 * (1 << 16)))
def test_a_result_of_any_size_arrives_complete(size: int) -> None:
    with open_http() as http:
        http.client.current_job.file = file = PNG + bytes(size)
        response = http("GET", f"{HERE}/labels")
        assert response.content == file
        assert response.headers["content-length"] == str(len(file))
        assert http.app.state.gateway.downloads.buffered_bytes == 0


def test_the_result_of_a_job_that_is_not_done_is_409(http: Http) -> None:
    http.client.current_job.raises = ResultNotReady("the job is queued; wait for it")
    assert_problem(http("GET", f"{HERE}/result"), 409, ResultNotReady)


def test_the_result_of_a_failed_job_is_its_error(http: Http) -> None:
    failure = Failure(type="TruncatedImage", message="cells.png: it ends early", stage=Stage.EMBED)
    http.client.current_job.raises = JobFailed(JOB, failure)
    problem = assert_problem(http("GET", f"{HERE}/result"), 422, JobFailed)
    assert (problem["job_id"], problem["error"]["type"], problem["detail"]) == (JOB, "TruncatedImage", failure.message)


def test_a_request_can_wait_for_the_result(http: Http) -> None:
    http.client.current_job.current = STATUS.model_copy(update={"state": State.EMBEDDING})
    http.subscriptions.updates = [STATUS]
    assert http("GET", f"{HERE}/result?wait=60").json()["job_id"] == JOB
    for wait in ("61", "-1", "nan", "long"):
        assert_problem(http("GET", f"{HERE}/result?wait={wait}"), 422, InvalidJob)


@pytest.mark.parametrize(("file", "extension", "media"), [(PNG, "png", "image/png"), (TIFF, "tif", "image/tiff")])
def test_labels_are_returned_in_their_stored_format(http: Http, file: bytes, extension: str, media: str) -> None:
    http.client.current_job.file = file
    for path in ("labels", f"labels.{extension}"):
        response = http("GET", f"{HERE}/{path}")
        assert (response.status_code, response.headers["content-type"], response.content) == (200, media, file)
    other = http("GET", f"{HERE}/labels.{'tif' if extension == 'png' else 'png'}")
    assert other.status_code == 404
    assert other.json()["detail"].endswith(f"{HERE}/labels.{extension}")


@pytest.mark.parametrize("host", ["here?x", "here#x", "[", ""])
def test_the_format_of_labels_depends_on_the_path_not_the_host(http: Http, host: str) -> None:
    assert http("GET", f"{HERE}/labels.png", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    ("state", "message", "detail"),
    [
        (State.CANCELLED, "cancelled while embedding", "cancelled while embedding"),
        (State.DONE, None, "nothing was stopped: it had ended before, as done"),
    ],
)
def test_cancelling_returns_what_was_stopped(http: Http, state: State, message: str | None, detail: str) -> None:
    job = http.client.current_job
    job.state_after_cancel = state
    error = Failure(type="JobCancelled", message=message) if message else None
    job.current = STATUS.model_copy(update={"state": state, "error": error})
    response = http("DELETE", HERE)
    assert (response.status_code, response.json()) == (200, {"job_id": JOB, "state": state, "detail": detail})


def test_a_cancellation_needs_no_idempotency_key_and_ignores_one(http: Http) -> None:
    for headers in ({}, {"Idempotency-Key": "mine"}, {"Idempotency-Key": "a b"}):
        assert http("DELETE", HERE, headers=headers).status_code == 200
