"""The routes of jobs: /v1/jobs."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import TypeAdapter

from ...client.job import Job
from ...errors import (
    JobCancelled,
    JobDead,
    JobExpired,
    JobFailed,
    PayloadMissing,
    PayloadTooLarge,
    QueueFull,
    ResultNotReady,
    StoreFull,
    UnknownJob,
)
from ...schema import JobStatus, State
from ..dependencies import Gateway, TheGateway
from ..errors import GatewayBusy, OtherFormat, UnsupportedMedia, UploadTooSlow
from ..limits.downloads import ResultAnswer, StoredResult
from ..problems import documented
from ..schemas import IdempotencyKey, SubmitRequest, WaitQuery, known_shape, nothing
from .events import EventStream, stream

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

JobId = Annotated[str, Depends(known_shape)]
_NO_QUERY = [Depends(nothing)]
_ENDED = (JobFailed, JobCancelled, JobExpired, PayloadMissing, JobDead)
_NO_RESULT = documented(UnknownJob, ResultNotReady, *_ENDED, GatewayBusy)
_LISTENING = documented(UnknownJob, GatewayBusy)
_NO_SUCH_LABELS = documented(UnknownJob, OtherFormat, ResultNotReady, *_ENDED, GatewayBusy)
_MEDIA = {"png": "image/png", "tif": "image/tiff"}
_JSON = TypeAdapter(dict[str, Any])

_IMAGE = {"type": "string", "format": "binary"}
_FIELDS = {name: {"type": "string"} for name in SubmitRequest.model_fields} | {"file": _IMAGE}
_BODY = {
    "required": True,
    "content": {
        "multipart/form-data": {"schema": {"type": "object", "required": ["file"], "properties": _FIELDS}},
        "image/*": {"schema": _IMAGE},
        "application/octet-stream": {"schema": _IMAGE},
    },
}


@router.post(
    "",
    status_code=202,
    responses=documented(PayloadTooLarge, UnsupportedMedia, UploadTooSlow, QueueFull, StoreFull, GatewayBusy),
    openapi_extra={"requestBody": _BODY},
)
async def submit(
    request: Request,
    response: Response,
    gateway: TheGateway,
    asked: Annotated[SubmitRequest, Query()],
    idempotency_key: IdempotencyKey = None,
) -> dict[str, Any]:
    """Queue an image: the multipart field `file`, or the raw body. Other fields may stand in the query or the form."""
    async with gateway.uploads.receive(request) as upload:
        job_asked = asked.also(upload.fields, upload.name)

        def submitted() -> tuple[Job, State]:
            wanted = {name: getattr(job_asked, name) for name in SubmitRequest.model_fields}
            job = gateway.client.submit(upload.image(), idempotency_key=idempotency_key, **wanted)
            return job, job.state

        job, state = await gateway.ask(submitted)
    links = _links(job.id)
    response.headers["Location"] = links["self"]
    return {"job_id": job.id, "state": state, "links": links}


@router.get("/{job_id}", dependencies=_NO_QUERY, responses=documented(UnknownJob))
async def status(gateway: TheGateway, job_id: JobId) -> dict[str, Any]:
    """Where the job is: its state, when it entered each, how often each stage was begun, and its error."""
    job = await gateway.ask(gateway.client.job(job_id).status)
    told = job.spec.model_dump(mode="json") | {
        "times": job.times,
        "timings": job.timings,
        "attempts": job.attempts,
        "error": job.error,
    }
    return {"job_id": job.id, "state": job.state, **told, "links": _links(job.id)}


@router.get("/{job_id}/result", responses=_NO_RESULT)
async def result(
    request: Request, gateway: TheGateway, job_id: JobId, asked: Annotated[WaitQuery, Query()]
) -> Response:
    """The objects of a job that is done: box, area, centroid, score, COCO mask."""
    if asked.wait:
        await _ended(request, gateway, job_id, asked.wait)
    return ResultAnswer(gateway.results, partial(gateway.ask, partial(_objects, gateway.client.job(job_id))))


async def _ended(request: Request, gateway: Gateway, job_id: str, seconds: float) -> None:
    """Return when the job has ended, the time is over, or nobody waits any more."""
    job = gateway.client.job(job_id)
    async with gateway.news.of(job_id, seconds) as moments:
        async for _ in moments:
            if (await gateway.ask(job.status)).state.ended or await request.is_disconnected():
                return


def _objects(job: Job) -> StoredResult:
    """The objects as they are stored, which may be many megabytes: what is said of the job is put before, unparsed."""
    stored = job.objects_json()
    if not stored.startswith(b'{"'):
        raise ValueError(f"the stored objects of job {job.id} are none: they begin with {stored[:20]!r}")
    told = job.status()
    added = _JSON.dump_json({"job_id": job.id, "image": told.spec.name, "timings": told.timings})
    return StoredResult(b"".join((added[:-1], b",", memoryview(stored)[1:])), "application/json")


@router.get("/{job_id}/labels", dependencies=_NO_QUERY, responses=_NO_RESULT, response_class=Response)
async def labels(gateway: TheGateway, job_id: JobId) -> Response:
    """The label image, 0 or an object's id: a 16-bit PNG, or a 32-bit TIFF beyond 65,535 objects."""
    return _answer(gateway, job_id, "png", "tif")


@router.get("/{job_id}/labels.png", dependencies=_NO_QUERY, responses=_NO_SUCH_LABELS, response_class=Response)
@router.get("/{job_id}/labels.tif", dependencies=_NO_QUERY, responses=_NO_SUCH_LABELS, response_class=Response)
async def labels_as(request: Request, gateway: TheGateway, job_id: JobId) -> Response:
    """The same, if it is of that format; 404 says which it is."""
    return _answer(gateway, job_id, request.scope["path"].rpartition(".")[2])


def _answer(gateway: Gateway, job_id: str, *kinds: str) -> ResultAnswer:
    """The labels, if they are of one of these kinds."""
    return ResultAnswer(gateway.results, partial(gateway.ask, partial(_labels, gateway.client.job(job_id), kinds)))


def _labels(job: Job, kinds: tuple[str, ...]) -> StoredResult:
    file = job.labels_file()
    kind = "png" if file.startswith(b"\x89PNG") else "tif"
    if kind not in kinds:
        raise OtherFormat(f"the labels of job {job.id} are at {router.prefix}/{job.id}/labels.{kind}")
    return StoredResult(file, _MEDIA[kind])


@router.get("/{job_id}/events", dependencies=_NO_QUERY, responses=_LISTENING, response_class=Response)
async def events(request: Request, gateway: TheGateway, job_id: JobId) -> Response:
    """Server-sent events: one named `state` for each state that the job has entered or enters, until it ends.

    A browser that comes again after the last one (`Last-Event-ID`) is told by 204 not to.
    """
    if request.headers.get("last-event-id") in _ENDS:
        return Response(status_code=204)
    told = stream(gateway, job_id)
    return EventStream(await anext(told), told)


_ENDS = {str(state) for state in State if state.ended}


@router.delete("/{job_id}", dependencies=_NO_QUERY, responses=documented(UnknownJob))
async def cancel(
    request: Request, gateway: TheGateway, job_id: JobId, idempotency_key: IdempotencyKey = None
) -> dict[str, Any]:
    """Cancel the job; says the state that it has now, and what could be stopped. Where the same was submitted several
    times, it goes on until each submission is cancelled: requests with one `Idempotency-Key`, or from one address,
    count once.
    """
    job = gateway.client.job(job_id)
    call = idempotency_key or (request.client.host if request.client else None)
    state = await gateway.ask(partial(job.cancel, call))
    return {"job_id": job_id, "state": state, "detail": _stopped(state, await gateway.ask(job.status))}


def _stopped(state: State, job: JobStatus) -> str:
    if state is State.CANCELLED:
        return job.error.message if job.error else "cancelled"
    if state.ended:
        return f"nothing was stopped: it had ended before, as {state}"
    return (
        f"nothing was stopped: it is {state}, and other submissions of the same wait for it; each is cancelled once, "
        f"by an Idempotency-Key of its own"
    )


def _links(job_id: str) -> dict[str, str]:
    there = f"{router.prefix}/{job_id}"
    return {"self": there} | {name: f"{there}/{name}" for name in ("result", "labels", "events")}
