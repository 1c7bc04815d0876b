"""Results in the formats of other programs over HTTP, and one zip of many."""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest

from maskq import FormatNotApplicable, InvalidJob, PayloadTooLarge, Result, ResultNotReady, UnknownFormat, UnknownJob
from maskq.producer.formats.registry import FORMATS
from maskq.producer.gateway.errors import GatewayBusy, NotAcceptable
from tests.conftest import png
from tests.results import result_of, stack_result
from tests.unit.formats.images import example
from tests.unit.gateway.fakes import HERE, FakeJob, Http, assert_problem, open_http

RESULT, ZIP = f"{HERE}/result", "/v1/results.zip"
IMAGE = png(np.zeros((20, 30), np.uint8))


@dataclass
class JobWithResult(FakeJob):
    """A job with a result; `raises` is raised instead of it."""

    outcome: Result = field(default_factory=lambda: result_of(example()))

    def result(self) -> Result:
        if self.raises:
            raise self.raises
        return self.outcome

    def image(self) -> bytes:
        return IMAGE


@pytest.fixture
def http(http: Http) -> Http:
    http.client.current_job = JobWithResult()
    return http


@pytest.mark.parametrize("name", [*FORMATS])
def test_a_result_has_the_format_that_the_query_names(http: Http, name: str) -> None:
    response = http("GET", f"{RESULT}?format={name}")
    assert response.status_code == 200
    if name == "objects":
        assert response.json().keys() >= {"job_id", "image", "timings", "objects"}
        return
    one, result = FORMATS[name], result_of(example())
    assert response.headers["content-type"] == one.media_type(result)
    assert response.headers["content-disposition"] == f"attachment; filename*=UTF-8''cells{one.ending(result)}"
    if name != "ome-zarr":  # see tests/unit/formats/test_ome.py
        assert response.content == result.to(name, image=IMAGE)
    assert http("HEAD", f"{RESULT}?format={name}").headers["content-length"] == str(len(response.content))


@pytest.mark.parametrize(
    ("accept", "name"),
    [("application/geo+json", "geojson"), ("text/csv;q=1, */*;q=.1", "table"), ("image/*", "labels")],
)
def test_accept_chooses_a_format(http: Http, accept: str, name: str) -> None:
    response = http("GET", RESULT, headers={"accept": accept})
    assert response.content == result_of(example()).to(name)
    assert response.headers["vary"] == "accept"


@pytest.mark.parametrize("accept", ["", "*/*", "text/html, */*;q=.8", "application/json", "text/html"])
def test_json_is_the_default(http: Http, accept: str) -> None:
    response = http("GET", RESULT, headers={"accept": accept})
    assert (response.headers["content-type"], response.headers["vary"]) == ("application/json", "accept")
    assert response.json()["objects"]


def test_what_is_not_possible_is_said(http: Http) -> None:
    problem = assert_problem(http("GET", f"{RESULT}?format=svg"), 422, UnknownFormat)
    assert "known formats: labels, objects" in problem["detail"]
    http.client.current_job = JobWithResult(outcome=stack_result(np.stack([example()] * 2)))
    problem = assert_problem(http("GET", f"{RESULT}?format=yolo"), 422, FormatNotApplicable)
    assert problem["detail"] == "the format yolo has no stacks, and cells.npy is one"
    problem = assert_problem(http("GET", RESULT, headers={"accept": "image/png"}), 406, NotAcceptable)
    assert "image/png; `?format=` names a format" in problem["detail"]
    http.client.current_job.raises = ResultNotReady("the job is queued; wait for it")
    assert_problem(http("GET", f"{RESULT}?format=geojson"), 409, ResultNotReady)
    for query in ("simplify=-1", "simplify=nan", "format=geojson&colour=red"):
        assert_problem(http("GET", f"{RESULT}?{query}"), 422, InvalidJob)


def test_polygons_can_be_simplified(http: Http) -> None:
    y, x = np.mgrid[:40, :40]
    round_object = result_of(((y - 20) ** 2 + (x - 20) ** 2 < 18**2).astype(np.int32))
    http.client.current_job = JobWithResult(outcome=round_object)
    exact, simple = (http("GET", f"{RESULT}?format=geojson&simplify={tolerance}") for tolerance in (0, 1))
    assert len(simple.content) < len(exact.content) / 2


def test_a_file_name_of_any_characters_is_a_header() -> None:
    with open_http() as http:
        result = result_of(example())
        spec = result.job.spec.model_copy(update={"name": 'a\r\n"ö/ü\\é".tif'})
        http.client.current_job = JobWithResult(
            outcome=replace(result, job=result.job.model_copy(update={"spec": spec}))
        )
        header = http("GET", f"{RESULT}?format=table").headers["content-disposition"]
        assert header == "attachment; filename*=UTF-8''%C3%A9%22.csv"


def unpacked(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name) for name in archive.namelist()}


def ids(count: int) -> list[str]:
    return [f"{number:032x}" for number in range(count)]


def test_many_results_are_one_zip(http: Http) -> None:
    body = {"jobs": [*ids(3), ids(1)[0]], "formats": ["geojson", "coco", "overlay"]}
    response = http("POST", ZIP, json=body)
    assert response.headers["content-type"] == "application/zip"
    assert "content-length" not in response.headers
    files = unpacked(response.content)
    assert files.keys() == {
        *(f"cells{number}.{ending}" for number in ("", "-2", "-3") for ending in ("geojson", "overlay.png")),
        "coco.json",
        "summary.json",
    }
    assert files["cells-3.geojson"] == result_of(example()).to("geojson")
    assert len(json.loads(files["coco.json"])["images"]) == 3
    assert http.client.requested == ids(3)
    gateway = http.app.state.gateway
    assert (gateway.zips._value, gateway.conversions.buffered_bytes) == (4, 0)


def test_jobs_without_a_result_are_listed(http: Http) -> None:
    http.client.current_job.raises = UnknownJob("no such job")
    files = unpacked(http("POST", ZIP, json={"jobs": ids(2)}).content)
    failures = json.loads(files["summary.json"])["failures"]
    assert [(failure["name"], failure["type"]) for failure in failures] == [(job, "UnknownJob") for job in ids(2)]


@pytest.mark.parametrize(
    ("body", "kind", "detail"),
    [
        ({"jobs": []}, InvalidJob, "jobs: List should have at least 1 item"),
        ({"jobs": ["x"]}, InvalidJob, "jobs.0: String should match pattern"),
        ({"jobs": ids(10_001)}, InvalidJob, "at most 10000 items"),
        ({"jobs": ids(1), "formats": ["svg"]}, UnknownFormat, "unknown format 'svg'"),
        ({"jobs": ids(1), "colour": "red"}, InvalidJob, "colour: Extra inputs are not permitted"),
        ([], InvalidJob, "Input should be an object"),
    ],
)
def test_an_invalid_request_is_refused(http: Http, body: Any, kind: type[InvalidJob], detail: str) -> None:
    assert detail in assert_problem(http("POST", ZIP, json=body), 422, kind)["detail"]


def test_a_request_is_limited(http: Http) -> None:
    assert_problem(http("POST", ZIP, content=b"[" * (1 << 20 | 1)), 413, PayloadTooLarge)
    assert_problem(http("POST", ZIP, content=b"[" * (1 << 20)), 422, InvalidJob)


def test_no_more_zips_are_made_than_there_are_places(http: Http) -> None:
    zips = http.app.state.gateway.zips
    for _ in range(4):
        zips.acquire()
    assert_problem(http("POST", ZIP, json={"jobs": ids(1)}), 503, GatewayBusy)
    zips.release()
    assert http("POST", ZIP, json={"jobs": ids(1)}).status_code == 200
    assert zips._value == 1


def test_a_zip_that_nobody_reads_any_more_is_not_made_to_its_end(http: Http) -> None:
    body = json.dumps({"jobs": ids(1000), "formats": ["labels"]}).encode()
    messages = [{"type": "http.request", "body": body, "more_body": False}]
    sent = []

    async def receive() -> dict[str, Any]:
        return messages.pop(0) if messages else {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "path": ZIP,
        "raw_path": ZIP.encode(),
        "query_string": b"",
        "headers": [(b"content-length", b"%d" % len(body))],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 2),
        "scheme": "http",
        "root_path": "",
    }
    http.run(http.app(scope, receive, send))
    assert sent[0]["status"] == 200
    assert len(http.client.requested) < 5 and http.app.state.gateway.zips._value == 4
