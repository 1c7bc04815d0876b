"""Submitting an image over HTTP: raw bodies, forms, fields."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maskq import InvalidJob, Options
from maskq.producer.gateway.errors import UnsupportedMedia
from maskq.producer.gateway.schemas import SubmitRequest
from maskq.producer.schema import JobSpec
from tests.unit.gateway.fakes import HERE, JOB, MULTIPART, PART, Http, assert_problem, open_http


def test_a_raw_body_is_the_image_and_the_query_has_the_job_specification(http: Http) -> None:
    query = 'model=phase-contrast@2&priority=9&client=lab-7&options={"tta":true}&reuse=false&name=a.png'
    response = http.post(b"pixels", path=f"/v1/jobs?{query}", headers={"Idempotency-Key": "k1"})
    assert response.status_code == 202
    ((image, submission),) = http.client.submitted
    assert image == b"pixels"
    assert submission.pop("options") == Options(tta=True)
    assert submission.pop("limits").expires_s is None
    assert submission == {
        "name": "a.png",
        "model": "phase-contrast@2",
        "priority": 9,
        "client": "lab-7",
        "reuse": False,
        "idempotency_key": "k1",
        "sender": "127.0.0.1",
    }
    links = {"self": HERE, "result": f"{HERE}/result", "labels": f"{HERE}/labels", "events": f"{HERE}/events"}
    assert response.json() == {"job_id": JOB, "state": "done", "links": links}
    assert response.headers["location"] == HERE


def test_a_form_has_the_image_in_file_and_its_fields_override_the_query(http: Http) -> None:
    files, fields = {"file": ("b.tif", b"pixels" * 1000)}, {"priority": "3", "options": '{"min_pixels": 7}'}
    assert http("POST", "/v1/jobs?priority=8&client=me", files=files, data=fields).status_code == 202
    ((image, submission),) = http.client.submitted
    assert image == b"pixels" * 1000
    assert (submission["name"], submission["priority"], submission["client"]) == ("b.tif", 3, "me")
    assert submission["options"] == Options(min_pixels=7)
    assert submission["reuse"] is None


@pytest.mark.parametrize("query", ["", "name="])
def test_an_image_without_a_name_is_called_image(http: Http, query: str) -> None:
    assert http.post(path=f"/v1/jobs?{query}").status_code == 202
    assert http.client.submitted[0][1]["name"] == "image"


def test_the_name_of_a_form_overrides_the_querys_and_both_override_the_filename(http: Http) -> None:
    files = {"file": ("f" * 300, b"pixels")}
    for query, fields in (("", {}), ("?name=query", {}), ("?name=query", {"name": "form"})):
        assert http("POST", f"/v1/jobs{query}", files=files, data=fields).status_code == 202
    assert [submission["name"] for _, submission in http.client.submitted] == ["f" * 255, "query", "form"]


def test_every_field_of_a_job_specification_can_be_requested() -> None:
    assert set(SubmitRequest.model_fields) == {*JobSpec.model_fields, "reuse"}


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("priority=10", "priority"),
        ("priority=high", "priority"),
        ("model=No!", "model"),
        ("client=a b", "client"),
        ("options={", "options"),
        ("options=" + "[" * 9000, "options"),
        ("options=[]", "options"),
        ('options={"seed_threshold":3}', "options.seed_threshold"),
        ('options={"depth":3}', "options.depth"),
        ('options={"channels":0}', "options.channels"),
        ('options={"channels":[]}', "options.channels"),
        ('options={"channels":[1,""]}', "options.channels"),
        ('options={"composite":"sum"}', "options.composite"),
        ('options={"axes":"CYQ"}', "options.axes"),
        ('options={"planes":"some"}', "options.planes"),
        ('options={"region":[1,2]}', "options.region"),
        ("reuse=perhaps", "reuse"),
        ("callback_url=http://x", "callback_url"),
    ],
)
def test_an_invalid_field_is_422_and_is_named(http: Http, query: str, field: str) -> None:
    detail = assert_problem(http.post(path=f"/v1/jobs?{query}"), 422, InvalidJob)["detail"]
    assert detail.startswith(f"{field}: ")
    name, _, value = query.partition("=")
    form = http("POST", "/v1/jobs", files={"file": ("a.png", b"x")}, data={name: value})
    assert assert_problem(form, 422, InvalidJob)["detail"].startswith(f"{field}: ")
    assert not http.client.submitted


@pytest.mark.parametrize(
    ("given", "options"),
    [
        ('{"channels":"DAPI"}', Options(channels="DAPI")),
        ('{"channels":2}', Options(channels=2)),
        ('{"channels":["red",3],"composite":"max"}', Options(channels=("red", 3), composite="max")),
        ('{"axes":"CYX","nan_as_background":true}', Options(axes="CYX", nan_as_background=True)),
    ],
)
def test_channels_and_axes_are_options(http: Http, given: str, options: Options) -> None:
    assert http.post(path=f"/v1/jobs?options={given}").status_code == 202
    assert http.client.submitted[0][1]["options"] == options


def test_the_error_of_a_wrong_option_says_once_what_it_may_be(http: Http) -> None:
    response = http.post(path='/v1/jobs?options={"channels":0}')
    assert assert_problem(response, 422, InvalidJob)["detail"] == (
        "options.channels: should be a channel's number from 1, its name, or a list of 1 to 16 of these"
    )


@pytest.mark.parametrize("key", ["", "a b", "ä", "k" * 256])
def test_a_malformed_idempotency_key_is_422(http: Http, key: str) -> None:
    assert_problem(http.post(headers=[("Idempotency-Key", key.encode())]), 422, InvalidJob)
    assert not http.client.submitted


@pytest.mark.parametrize(
    "request_",
    [
        {"content": b""},
        {"files": {"file": ("a.png", b"")}},
        {"files": {"picture": ("a.png", b"x")}},
        {"files": [("file", ("a.png", b"x")), ("file", ("b.png", b"y"))]},
        {"files": {"file": ("a.png", b"x")}, "data": {"priority": ["1", "2"]}},
        {"files": {"file": ("a.png", b"x")}, "data": {f"f{n}": "" for n in range(17)}},
        {"files": {"file": ("a.png", b"x")}, "data": {"options": "{" + " " * (16 << 10) + "}"}},
        {"content": b"junk", "headers": MULTIPART},
        {"content": b"x", "headers": {"content-type": "multipart/form-data"}},
        {"content": PART % (b"", b"pixels") + b"--x--", "headers": MULTIPART},
        {"content": PART % (b"file", b"pixels"), "headers": MULTIPART},
        {"content": b'--x\r\nContent-Disposition: form-data; name="file"\r\n\r\nx\r\n--x--', "headers": MULTIPART},
    ],
    ids="empty,empty-file,wrong-name,two-files,twice,many,long,junk,no-boundary,no-name,cut-off,no-file".split(","),  # noqa: SIM905
)
def test_a_body_without_exactly_one_image_is_422(http: Http, request_: dict[str, Any]) -> None:
    assert_problem(http("POST", "/v1/jobs", **request_), 422, InvalidJob)
    assert not http.client.submitted
    assert http.app.state.gateway.uploads.bytes.total == 0


@settings(deadline=None)  # each example creates an app and an event loop
@given(body=st.binary(max_size=400), cut=st.integers(0, 400))
def test_every_form_gets_a_response(body: bytes, cut: int) -> None:
    whole = PART % (b"file", body) + b"--x--\r\n"
    with open_http() as http:
        response = http("POST", "/v1/jobs", content=whole[:cut] + body, headers=MULTIPART)
        assert response.status_code in (202, 422)
        assert http.app.state.gateway.uploads.bytes.total == 0


@pytest.mark.parametrize("kind", ["text/plain", "application/json", "application/x-www-form-urlencoded", "images"])
def test_a_media_type_that_no_image_has_is_415(http: Http, kind: str) -> None:
    assert_problem(http.post(headers={"content-type": kind}), 415, UnsupportedMedia)
    assert not http.client.submitted


@pytest.mark.parametrize("kind", ["image/png", "IMAGE/TIFF; x=y", "application/octet-stream", "application/x-npy"])
def test_media_types_of_images_are_accepted(http: Http, kind: str) -> None:
    assert http.post(headers={"content-type": kind}).status_code == 202


@pytest.mark.parametrize("charset", ["punycode", "undefined", "latin-1", "idna", '"PunyCode"'])
def test_a_form_in_a_charset_that_python_would_decode_is_415(http: Http, charset: str) -> None:
    body = PART % (b"file", b"pixels") + b'--x\r\nContent-Disposition: form-data; name="name"\r\n\r\na-b\r\n--x--'
    headers = {"content-type": f"multipart/form-data; charset={charset}; boundary=x"}
    assert_problem(http.post(body, headers=headers), 415, UnsupportedMedia)
    assert not http.client.submitted
    assert http.app.state.gateway.uploads.bytes.total == 0


@pytest.mark.parametrize("charset", ["utf-8", "UTF8", '"utf-8"'])
def test_a_form_may_declare_utf_8(http: Http, charset: str) -> None:
    body = PART % (b"file", b"pixels") + '--x\r\nContent-Disposition: form-data; name="name"\r\n\r\nä\r\n--x--'.encode()
    headers = {"content-type": f"multipart/form-data; charset={charset}; boundary=x"}
    assert http.post(body, headers=headers).status_code == 202
    assert http.client.submitted[0][1]["name"] == "ä"


def test_a_compressed_body_is_415(http: Http) -> None:
    assert_problem(http.post(headers={"content-encoding": "gzip"}), 415, UnsupportedMedia)
