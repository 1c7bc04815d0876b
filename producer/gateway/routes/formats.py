"""Results in the formats of other programs: one job's by `?format=` or `Accept`, and one zip of many."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ...client.client import Client
from ...client.job import Job
from ...errors import (
    BrokerUnavailable,
    FormatNotApplicable,
    FormatUnavailable,
    MaskqError,
    PayloadTooLarge,
    UnknownFormat,
)
from ...formats.accept import accepted_format, media_ranges, wants_json
from ...formats.batch import Item, zip_results
from ...formats.names import UniqueStems, stem
from ...formats.registry import FORMATS, find_format, select
from ...formats.result_format import FormatOptions, ResultFormat
from ..dependencies import NO_QUERY, Gateway, GatewayDep
from ..errors import GatewayBusy, NotAcceptable, UploadTooSlow
from ..limits.downloads import ResultResponse, StoredResult
from ..limits.throughput import MinThroughput
from ..problems import invalid_job, openapi_responses
from ..schemas import WaitQuery

router = APIRouter(prefix="/v1", tags=["jobs"])

#: Bytes of a zip that are made at once, about.
_PIECE = 1 << 20
#: The largest body of a request for a zip: 10,000 ids take a third of it.
_MAX_BODY = 1 << 20


class ResultQuery(WaitQuery):
    """Query parameters of a request for a result."""

    format: str | None = Field(default=None, max_length=32, examples=[*FORMATS])
    """The format: `objects`, `labels`, `table`, `overlay`, `geojson`, `coco`, `yolo`, `imagej`, `ome-tiff`,
    `ome-zarr`. Without it, `Accept` chooses, and JSON is the default."""
    simplify: float = Field(default=0, ge=0, le=1000)
    """Leave out corners of polygons that are nearer than this to the rest, pixels."""


class ZipRequest(BaseModel):
    """A request for one zip of many results."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    jobs: list[Annotated[str, Field(pattern=r"^[0-9a-f]{32}(-[0-9]{5,9})?$")]] = Field(min_length=1, max_length=10_000)
    """The jobs' ids. Those without a result are listed in the zip's `summary.json`, with the reason."""
    formats: list[str] = Field(default=["labels", "objects"], min_length=1, max_length=len(FORMATS))
    """The names of formats."""
    simplify: float = Field(default=0, ge=0, le=1000)
    """Leave out corners of polygons that are nearer than this to the rest, pixels."""


def formatted(request: Request, gateway: Gateway, job_id: str, query: ResultQuery) -> ResultResponse | None:
    """The result in the format that the request wants; None if that is the stored JSON. Raises `UnknownFormat`."""
    ranges = media_ranges(request.headers.get("accept", ""))
    one = find_format(query.format) if query.format else None
    if one is FORMATS["objects"] or (one is None and wants_json(ranges)):
        return None
    load = partial(_convert, gateway.client.job(job_id), one, ranges, query.simplify)
    return ResultResponse(gateway.conversions, load, gateway.in_conversion_thread)


def _convert(job: Job, one: ResultFormat | None, ranges: list[str], simplify: float) -> StoredResult:
    result = job.result()
    if one is None:
        try:
            one = accepted_format(ranges, result)
        except FormatNotApplicable as error:
            raise NotAcceptable(f"{error}; `?format=` names a format") from error
    one.check_installed()
    options = FormatOptions(job.image() if one.needs_image else b"", simplify)
    body = one.encode(result, options)
    headers = ((b"content-disposition", _attachment(stem(result) + one.ending(result))), (b"vary", b"accept"))
    return StoredResult(one.media_type(result), len(body), len(body), iter((body,)), headers)


def _attachment(name: str) -> bytes:
    """The header `Content-Disposition` of a file (RFC 6266)."""
    return f"attachment; filename*=UTF-8''{quote(name, safe='')}".encode()


@router.post(
    "/results.zip",
    dependencies=NO_QUERY,
    response_class=Response,
    responses=openapi_responses(PayloadTooLarge, UploadTooSlow, UnknownFormat, FormatUnavailable, GatewayBusy),
    openapi_extra={
        "requestBody": {"required": True, "content": {"application/json": {"schema": ZipRequest.model_json_schema()}}}
    },
)
async def results_zip(request: Request, gateway: GatewayDep) -> Response:
    """One zip of the results of many jobs in chosen formats. It is made while it is sent: `summary.json` is its end."""
    try:
        wanted = ZipRequest.model_validate_json(await _body(request, gateway.downloads.idle_s))
    except ValidationError as error:
        raise invalid_job(error) from error
    formats = select(wanted.formats)
    load = partial(_zip, gateway, wanted, formats)
    return ResultResponse(gateway.conversions, load, gateway.in_conversion_thread)


async def _body(request: Request, idle_s: float) -> bytes:
    """The request's body. Raises `PayloadTooLarge` and `UploadTooSlow`."""
    body, stream, throughput = bytearray(), request.stream(), MinThroughput(idle_s)
    try:
        while True:
            async with throughput.timeout(len(body)):
                chunk = await anext(stream, b"")
            if not chunk:
                return bytes(body)
            body += chunk
            if len(body) > _MAX_BODY:
                raise PayloadTooLarge(f"the request has more than {_MAX_BODY:,} bytes: ask for fewer jobs at once")
    except TimeoutError as error:
        raise UploadTooSlow("the request's body arrives too slowly") from error


def _zip(gateway: Gateway, wanted: ZipRequest, formats: tuple[ResultFormat, ...]) -> StoredResult:
    if not gateway.zips.acquire(blocking=False):
        raise GatewayBusy("other zips are being made; try again later")
    pieces = _until_closed(gateway, _items(gateway.client, wanted.jobs, formats), formats, wanted.simplify)
    next(pieces)  # begun, so that its end releases the zip's place, whatever becomes of the request
    headers = ((b"content-disposition", _attachment("results.zip")),)
    return StoredResult("application/zip", None, _PIECE, pieces, headers)


def _until_closed(
    gateway: Gateway, items: Iterable[Item], formats: tuple[ResultFormat, ...], simplify: float
) -> Iterator[bytes]:
    try:
        yield b""  # of the first `next`
        yield from zip_results(items, (one.name for one in formats), simplify)
    finally:
        gateway.zips.release()


def _items(client: Client, jobs: list[str], formats: tuple[ResultFormat, ...]) -> Iterator[Item]:
    """Each job's result under its image's name, the second of a name with `-2` behind it."""
    needs_image = any(one.needs_image for one in formats)
    stems = UniqueStems()
    for job_id in dict.fromkeys(jobs):
        job = client.job(job_id)
        try:
            result = job.result()
            image = job.image() if needs_image else b""
        except BrokerUnavailable:
            raise
        except MaskqError as error:
            yield job_id, error
            continue
        yield stems.next(result), (result, image)
