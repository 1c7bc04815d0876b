"""Error responses: problem details, Retry-After, OpenAPI's list of errors."""

from __future__ import annotations

import pytest
from fastapi import Request
from redis.exceptions import ConnectionError as RedisDown

from examples.backend.app import respond
from maskq import BrokerUnavailable, IdempotencyConflict, InvalidJob, JobExpired, QueueFull, StoreFull, UnknownJob
from maskq.producer.errors import MaskqError
from maskq.producer.gateway.errors import GatewayBusy, OtherFormat
from maskq.producer.gateway.schemas import SubmitRequest
from tests.unit.gateway.fakes import HERE, Http, assert_problem


@pytest.mark.parametrize(
    ("error", "retry_after"),
    [
        (QueueFull("full", retry_after_s=12.2), "13"),
        (QueueFull("full", retry_after_s=0.01), "1"),
        (StoreFull("no room"), "10"),
        (BrokerUnavailable("nothing at redis:6379"), "5"),
    ],
)
def test_temporary_errors_have_a_retry_after(http: Http, error: MaskqError, retry_after: str) -> None:
    http.client.submit_error = error
    response = http.post()
    problem = assert_problem(response, error.status, type(error))
    assert response.headers["retry-after"] == retry_after
    assert "redis:6379" not in problem["detail"]


def test_the_example_backend_has_retry_after_as_well() -> None:
    request = Request({"type": "http"})
    assert respond(request, QueueFull("full", retry_after_s=12.2)).headers["retry-after"] == "13"
    assert "retry-after" not in respond(request, UnknownJob("no job")).headers


@pytest.mark.parametrize("path", ["", "/result", "/labels", "/labels.png"])
def test_an_unavailable_broker_is_503_everywhere(http: Http, path: str) -> None:
    http.client.current_job.raises = RedisDown("Error 111 connecting to redis:6379")
    assert "6379" not in assert_problem(http("GET", HERE + path), 503, BrokerUnavailable)["detail"]
    assert_problem(http("DELETE", HERE), 503, BrokerUnavailable)


def test_an_unexpected_error_reveals_nothing(http: Http) -> None:
    http.client.submit_error = RuntimeError("secret")
    assert "secret" not in str(assert_problem(http.post(), 500, None))


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/nonesuch", 404), ("GET", f"{HERE}/labels.gif", 404), ("PUT", HERE, 405), ("GET", "/v1/jobs", 405)],
)
def test_an_unknown_route_or_method_is_a_problem_too(http: Http, method: str, path: str, status: int) -> None:
    response = http(method, path)
    assert_problem(response, status, None)
    assert ("allow" in response.headers) == (status == 405)


@pytest.mark.parametrize("job_id", ["nonesuch", "0" * 31, "0" * 33, "A" * 32, "%00" * 32, "*", "0" * 31 + "%0A"])
@pytest.mark.parametrize("path", ["", "/result", "/labels", "/labels.tif", "/events"])
def test_a_malformed_job_id_is_404_without_a_query_to_the_broker(http: Http, job_id: str, path: str) -> None:
    assert_problem(http("GET", f"/v1/jobs/{job_id}{path}"), 404, UnknownJob)
    assert_problem(http("DELETE", f"/v1/jobs/{job_id}"), 404, UnknownJob)
    assert not http.client.requested


@pytest.mark.parametrize("path", [HERE, f"{HERE}/result", f"{HERE}/labels", f"{HERE}/labels.png", f"{HERE}/events"])
def test_an_unknown_query_parameter_is_422_everywhere(http: Http, path: str) -> None:
    assert_problem(http("GET", f"{path}?verbose=1"), 422, InvalidJob)


def test_openapi_has_the_fields_and_the_errors(http: Http) -> None:
    post = http("GET", "/openapi.json").json()["paths"]["/v1/jobs"]["post"]
    assert {"413", "415", "422", "429", "503", "507"} <= set(post["responses"])
    assert {"Idempotency-Key", *SubmitRequest.model_fields} == {parameter["name"] for parameter in post["parameters"]}
    assert set(post["requestBody"]["content"]["multipart/form-data"]["schema"]["properties"]) >= {"file", "model"}
    assert http("GET", "/docs").status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "kind"),
    [
        ("post", "/v1/jobs", GatewayBusy),
        ("post", "/v1/jobs", IdempotencyConflict),
        ("get", "/v1/jobs/{job_id}/events", GatewayBusy),
        ("get", "/v1/jobs/{job_id}/result", JobExpired),
        ("get", "/v1/jobs/{job_id}/labels", JobExpired),
        ("get", "/v1/jobs/{job_id}/labels.png", OtherFormat),
        ("get", "/v1/jobs/{job_id}/labels.tif", OtherFormat),
    ],
)
def test_openapi_has_the_rare_errors(http: Http, method: str, path: str, kind: type[MaskqError]) -> None:
    responses = http("GET", "/openapi.json").json()["paths"][path][method]["responses"]
    assert str(kind.__doc__).partition("\n")[0] in responses[str(kind.status)]["description"]
