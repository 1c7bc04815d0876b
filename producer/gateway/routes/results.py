"""Routes that return a job's result: objects as JSON, labels as an image file."""

from collections.abc import Callable, Collection, Iterator
from dataclasses import replace
from functools import partial
from itertools import chain
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from pydantic import TypeAdapter

from ...client.job import Job
from ...errors import (
    FormatNotApplicable,
    FormatUnavailable,
    JobCancelled,
    JobDead,
    JobExpired,
    JobFailed,
    PayloadMissing,
    ResultNotReady,
    UnknownFormat,
    UnknownJob,
)
from ..dependencies import JOBS, NO_QUERY, Gateway, GatewayDep, JobId, links
from ..errors import GatewayBusy, NotAcceptable, OtherFormat
from ..limits.downloads import ResultResponse, StoredResult
from ..limits.shares import sender_of
from ..problems import openapi_responses
from ..responses import JobResult, success
from .formats import ResultQuery, formatted

router = APIRouter(prefix=JOBS, tags=["jobs"])

_UNAVAILABLE = (ResultNotReady, JobFailed, JobCancelled, JobExpired, PayloadMissing, JobDead, GatewayBusy)
_RESULT_ERRORS = openapi_responses(UnknownJob, *_UNAVAILABLE)
_FORMAT_ERRORS = openapi_responses(
    UnknownJob, *_UNAVAILABLE, UnknownFormat, FormatNotApplicable, FormatUnavailable, NotAcceptable
)
_JSON = TypeAdapter(dict[str, Any])
#: Formats of labels: file name extension to media type.
_LABEL_FORMATS = {"png": "image/png", "tif": "image/tiff"}


@router.get("/{job_id}/result", response_model=None, responses=success(JobResult) | _FORMAT_ERRORS)
async def result(
    request: Request, gateway: GatewayDep, job_id: JobId, query: Annotated[ResultQuery, Query()]
) -> Response:
    """The objects of a job that is done: box, area, centroid, score, COCO mask; or another format of the result."""
    if query.wait:
        await _wait(request, gateway, job_id, query.wait)
    other = formatted(request, gateway, job_id, query)
    return other or _response(gateway, partial(_objects, gateway.client.job(job_id)))


async def _wait(request: Request, gateway: Gateway, job_id: str, seconds: float) -> None:
    """Wait until the job has ended, `seconds` have passed or the client has disconnected."""
    job = gateway.client.job(job_id)
    async with gateway.subscriptions.subscribe(job_id, seconds, sender_of(request)) as changes:
        async for _ in changes:
            if (await gateway.in_thread(job.status)).state.ended or await request.is_disconnected():
                return


def _objects(job: Job) -> StoredResult:
    """The stored JSON, with the job's id, image name and timings prepended to its members.

    It may have many megabytes and is therefore not parsed.
    """
    stored = job.read_objects()
    first = next(stored.pieces, b"")
    if not first.startswith(b'{"'):
        raise ValueError(f"job {job.id}: the stored objects are not a JSON object: they begin with {first[:20]!r}")
    status = job.status()
    prefix = _JSON.dump_json({"job_id": job.id, "image": status.spec.name, "timings": status.timings})
    first = b"".join((prefix[:-1], b",", memoryview(first)[1:]))
    json = _stored("application/json", stored.size + len(prefix) - 1, first, stored.pieces)
    return replace(json, headers=((b"vary", b"accept"),))


@router.get("/{job_id}/labels", dependencies=NO_QUERY, responses=_RESULT_ERRORS, response_class=Response)
async def labels(request: Request, gateway: GatewayDep, job_id: JobId) -> Response:
    """The label image, 0 or an object's id: a 16-bit PNG, or a 32-bit TIFF for more than 65,535 objects. A stack's is a
    TIFF with a page per plane.
    """
    return _response(gateway, partial(_labels, request, gateway.client.job(job_id), _LABEL_FORMATS))


async def labels_as(request: Request, gateway: GatewayDep, job_id: JobId) -> Response:
    """The label image if it has this format; otherwise 404 with the path of the other format."""
    extension = request.scope["path"].rpartition(".")[2]
    return _response(gateway, partial(_labels, request, gateway.client.job(job_id), (extension,)))


for _extension in _LABEL_FORMATS:
    router.get(
        f"/{{job_id}}/labels.{_extension}",
        dependencies=NO_QUERY,
        responses=openapi_responses(UnknownJob, OtherFormat, *_UNAVAILABLE),
        response_class=Response,
    )(labels_as)


def _labels(request: Request, job: Job, extensions: Collection[str]) -> StoredResult:
    """The label file. Raises `OtherFormat` if its extension is not among these."""
    stored = job.read_labels()
    first = next(stored.pieces, b"")
    extension = "png" if first.startswith(b"\x89PNG") else "tif"
    if extension not in extensions:
        raise OtherFormat(f"the labels of job {job.id} are at {links(request, job.id)['labels']}.{extension}")
    return _stored(_LABEL_FORMATS[extension], stored.size, first, stored.pieces)


def _stored(media_type: str, size: int, first: bytes, rest: Iterator[bytes]) -> StoredResult:
    return StoredResult(media_type, size, len(first), chain(iter((first,)), rest))


def _response(gateway: Gateway, load: Callable[[], StoredResult]) -> ResultResponse:
    return ResultResponse(gateway.downloads, load, gateway.in_thread)
