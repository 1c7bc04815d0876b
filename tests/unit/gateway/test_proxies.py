"""The gateway behind proxies, under a prefix, called by browsers, and asked for heads only."""

from __future__ import annotations

import asyncio
import json
import re
import threading
import time
from typing import Any

import httpx
import pytest

from maskq.producer.gateway.proxies import BehindProxies
from maskq.producer.schema import Limits, Options
from tests.unit.gateway.fakes import HERE, FakeJob, Http, open_http

PAGE = {"origin": "https://lab.example"}


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics", HERE, f"{HERE}/result", f"{HERE}/labels.png"])
def test_head_is_get_without_the_body(http: Http, path: str) -> None:
    get, head = http("GET", path), http("HEAD", path)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-type"] == get.headers["content-type"]
    assert head.headers["content-length"] == str(len(get.content))


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", HERE, "GET, HEAD, DELETE"),
        ("GET", "/v1/jobs", "POST"),
        ("HEAD", f"{HERE}/events", "GET"),
        ("POST", "/healthz", "GET, HEAD"),
    ],
)
def test_a_wrong_method_is_told_which_are_allowed(http: Http, method: str, path: str, allowed: str) -> None:
    response = http(method, path)
    assert (response.status_code, response.headers["allow"]) == (405, allowed)


def test_browsers_may_call_it_from_the_origins_of_the_setting_only(http: Http) -> None:
    preflight = PAGE | {"access-control-request-method": "POST", "access-control-request-headers": "idempotency-key"}
    assert http("OPTIONS", "/v1/jobs", headers=preflight).status_code == 405
    with open_http(cors_origins="https://other.example, https://lab.example") as open_to_lab:
        allowed = open_to_lab("OPTIONS", "/v1/jobs", headers=preflight)
        assert allowed.status_code == 200
        assert allowed.headers["access-control-allow-origin"] == PAGE["origin"]
        posted = open_to_lab.post(headers=PAGE)
        assert posted.headers["access-control-allow-origin"] == PAGE["origin"]
        assert "Location" in posted.headers["access-control-expose-headers"]
        assert open_to_lab("GET", "/v1/jobs/none", headers=PAGE).headers["access-control-allow-origin"]
        foreign = {**preflight, "origin": "https://evil.example"}
        assert open_to_lab("OPTIONS", "/v1/jobs", headers=foreign).status_code == 400


def through(http: Http, method: str, path: str, *, client: str = "127.0.0.1", **request: Any) -> httpx.Response:
    """Send a request as from this address, with 10.0.0.0/8 and 127.0.0.1 as the trusted proxies."""

    async def send() -> httpx.Response:
        app: Any = BehindProxies(http.app, "127.0.0.1,10.0.0.0/8")
        transport = httpx.ASGITransport(app, client=(client, 1234))
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as connection:
            return await connection.request(method, path, **request)

    response: httpx.Response = http.run(send())
    return response


@pytest.mark.parametrize("stripped", [True, False])
@pytest.mark.parametrize("client", ["127.0.0.1", "10.9.8.7"])
def test_a_trusted_proxys_prefix_is_in_links_and_documents(http: Http, client: str, stripped: bool) -> None:
    headers, path = {"x-forwarded-prefix": "/maskq"}, "" if stripped else "/maskq"
    posted = through(http, "POST", f"{path}/v1/jobs", client=client, content=b"image", headers=headers)
    assert posted.headers["location"] == f"/maskq{HERE}"
    assert posted.json()["links"]["labels"] == f"/maskq{HERE}/labels"
    assert "url: '/maskq/openapi.json'" in through(http, "GET", f"{path}/docs", headers=headers).text
    document = through(http, "GET", f"{path}/openapi.json", headers=headers).json()
    assert document["servers"] == [{"url": "/maskq"}]
    assert "servers" not in http("GET", "/openapi.json").json()


@pytest.mark.parametrize("prefix", ["//evil.example", "https://evil.example", "/a\tb", "/<script>", "/..%2f", "a"])
def test_what_is_no_prefix_is_ignored(http: Http, prefix: str) -> None:
    posted = through(http, "POST", "/v1/jobs", content=b"image", headers={"x-forwarded-prefix": prefix})
    assert posted.headers["location"] == HERE


def test_others_are_not_believed(http: Http) -> None:
    headers = {"x-forwarded-prefix": "/evil", "x-forwarded-for": "10.1.1.1", "host": "evil.example"}
    posted = through(http, "POST", "/v1/jobs", client="192.0.2.1", content=b"image", headers=headers)
    assert posted.headers["location"] == HERE
    assert http.client.submitted[-1][1]["sender"] == "192.0.2.1"


def test_the_client_is_the_last_address_that_is_no_proxy(http: Http) -> None:
    headers = {"x-forwarded-for": "203.0.113.9, 192.0.2.1, 10.1.1.1"}
    through(http, "POST", "/v1/jobs", content=b"image", headers=headers)
    assert http.client.submitted[-1][1]["sender"] == "192.0.2.1"


def test_the_prefix_can_be_a_setting(http: Http) -> None:
    with open_http(root_path="/lab/maskq") as prefixed:
        assert prefixed.post().headers["location"] == f"/lab/maskq{HERE}"
        assert prefixed("GET", f"/lab/maskq{HERE}").json()["links"]["self"] == f"/lab/maskq{HERE}"


def test_nothing_is_redirected_to_the_host_of_the_request(http: Http) -> None:
    response = http("GET", "/healthz/", headers={"host": "evil.example"})
    assert response.status_code == 404
    assert "evil" not in response.text


def test_answers_have_types_in_the_openapi_document(http: Http) -> None:
    document = http("GET", "/openapi.json").json()
    paths, schemas = document["paths"], document["components"]["schemas"]
    for method, path, status, name in (
        ("post", "/v1/jobs", "202", "Submitted"),
        ("get", "/v1/jobs/{job_id}", "200", "JobRecord"),
        ("delete", "/v1/jobs/{job_id}", "200", "Cancelled"),
        ("get", "/v1/jobs/{job_id}/result", "200", "JobResult"),
    ):
        content = paths[path][method]["responses"][status]["content"]["application/json"]
        assert content["schema"]["$ref"].endswith(f"/{name}")
    assert {"bbox", "area", "centroid", "rle", "score"} <= schemas["MaskObject"]["properties"].keys()
    for method, path, name in ("GET", HERE, "JobRecord"), ("GET", f"{HERE}/result", "JobResult"):
        assert http(method, path).json().keys() <= schemas[name]["properties"].keys()
        assert set(schemas[name]["required"]) <= http(method, path).json().keys()


def test_what_the_openapi_document_says_can_be_sent_back(http: Http) -> None:
    parameters = http("GET", "/openapi.json").json()["paths"]["/v1/jobs"]["post"]["parameters"]
    defaults = {p["name"]: p["schema"]["default"] for p in parameters if p["schema"].get("default") is not None}
    assert not {"options", "limits"} & defaults.keys()
    given = defaults | {"options": Options().model_dump_json(), "limits": json.dumps(Limits().model_dump())}
    assert http.post(params=given).status_code == 202


def test_a_client_that_is_generated_from_the_openapi_document_can_send_its_form(http: Http) -> None:
    """It sends objects as JSON parts and every default as it stands; browsers give such parts the file name `blob`."""
    document = http("GET", "/openapi.json").json()
    schema = document["paths"]["/v1/jobs"]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]

    def resolved(schema: dict[str, Any]) -> dict[str, Any]:
        name = schema.get("$ref", "").rpartition("/")[2]
        found: dict[str, Any] = document["components"]["schemas"][name] if name else schema
        return found

    def default(schema: dict[str, Any]) -> Any:
        properties = resolved(schema).get("properties", {})
        return {name: default(item) for name, item in properties.items()} if properties else schema.get("default")

    properties = schema["properties"]
    assert resolved(properties["options"])["properties"]["diameter"]["anyOf"][0]["type"] == "number"
    assert properties["priority"]["type"] == "integer"
    assert default(properties["options"]) == Options().model_dump(mode="json")
    for blob in (None, "blob"):
        parts: dict[str, Any] = {"file": ("a.png", b"image")}
        for name, item in properties.items():
            if (value := default(item)) is not None and name != "file":
                json_part = (blob, json.dumps(value), "application/json")
                parts[name] = json_part if isinstance(value, dict) else (None, str(value))
        assert http("POST", "/v1/jobs", files=parts).status_code == 202
        assert http.client.submitted[-1][1]["options"] == Options()
    typed = {"options": (None, '{"diameter": 30, "channels": ["DAPI", 2]}', "application/json")}
    assert http("POST", "/v1/jobs", files={"file": ("a.png", b"image")} | typed).status_code == 202
    assert http.client.submitted[-1][1]["options"] == Options(diameter=30, channels=("DAPI", 2))


def test_every_reference_of_the_openapi_document_is_defined(http: Http) -> None:
    text = http("GET", "/openapi.json").text
    names = set(re.findall(r'"#/components/schemas/([^"]+)"', text))
    assert {"Options", "Limits"} <= names <= json.loads(text)["components"]["schemas"].keys()


def test_readiness_and_refusals_do_not_wait_behind_requests_that_wait_for_the_broker(
    http: Http, monkeypatch: pytest.MonkeyPatch
) -> None:
    away = threading.Event()
    monkeypatch.setattr(FakeJob, "status", lambda job: away.wait(20) and job.current)

    async def ask() -> tuple[list[int], float]:
        transport = httpx.ASGITransport(http.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway", timeout=30) as client:
            waiting = [asyncio.create_task(client.get(HERE)) for _ in range(100)]
            await asyncio.sleep(0.2)
            began = time.monotonic()
            quick = [(await client.get(path)).status_code for path in ("/readyz", "/v1/jobs/x", f"{HERE}?a=1", "/nope")]
            seconds = time.monotonic() - began
            away.set()
            assert {(await task).status_code for task in waiting} == {200}
        return quick, seconds

    statuses, seconds = http.run(ask())
    assert statuses == [200, 404, 422, 404]
    assert seconds < 5
