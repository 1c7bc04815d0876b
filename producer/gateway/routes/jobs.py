"""Routes that submit, query and cancel jobs."""

from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from ...client.job import Job
from ...errors import IdempotencyConflict, PayloadTooLarge, QueueFull, StoreFull, UnknownJob
from ...schema import JobStatus, State
from ..dependencies import JOBS, NO_QUERY, GatewayDep, JobId, links
from ..errors import GatewayBusy, UnsupportedMedia, UploadTooSlow
from ..problems import openapi_responses
from ..responses import Cancelled, JobRecord, Submitted, success
from ..schemas import IdempotencyKey, SubmitRequest, request_body

router = APIRouter(prefix=JOBS, tags=["jobs"])


@router.post(
    "",
    status_code=202,
    response_model=None,
    responses=success(Submitted, 202)
    | openapi_responses(
        PayloadTooLarge, IdempotencyConflict, UnsupportedMedia, UploadTooSlow, QueueFull, StoreFull, GatewayBusy
    ),
    openapi_extra={"requestBody": request_body()},
)
async def submit(
    request: Request,
    response: Response,
    gateway: GatewayDep,
    query: Annotated[SubmitRequest, Query()],
    idempotency_key: IdempotencyKey = None,
) -> dict[str, Any]:
    """Queue an image: the multipart field `file`, or the raw body. Other fields may be in the query or the form."""
    start = partial(gateway.client.upload, client=query.client)
    async with gateway.uploads.receive(request, start, gateway.in_upload_thread) as received:
        job_request = query.with_form(received.fields, received.filename)

        def enqueue() -> tuple[Job, State]:
            job = gateway.client.enqueue(
                received.take(),
                job_request.job_spec(),
                idempotency_key=idempotency_key,
                reuse=job_request.reuse,
                sender=request.client.host if request.client else "",
            )
            return job, job.state

        job, state = await gateway.in_upload_thread(enqueue)
    job_links = links(request, job.id)
    response.headers["Location"] = job_links["self"]
    return {"job_id": job.id, "state": state, "links": job_links}


@router.get(
    "/{job_id}",
    dependencies=NO_QUERY,
    response_model=None,
    responses=success(JobRecord) | openapi_responses(UnknownJob),
)
async def status(request: Request, gateway: GatewayDep, job_id: JobId) -> dict[str, Any]:
    """The job's state, when it entered each state, the attempts per stage, its specification and its error; of a stack
    also the number of planes, in all and done.
    """
    job = await gateway.in_thread(gateway.client.job(job_id).status)
    return {
        "job_id": job.id,
        "state": job.state,
        **job.spec.model_dump(mode="json"),
        "times": job.times,
        "timings": job.timings,
        "attempts": job.attempts,
        "planes": job.planes and job.planes.model_dump(),
        "error": job.error,
        "links": links(request, job.id),
    }


@router.delete(
    "/{job_id}",
    dependencies=NO_QUERY,
    response_model=None,
    responses=success(Cancelled) | openapi_responses(UnknownJob),
)
async def cancel(gateway: GatewayDep, job_id: JobId) -> dict[str, Any]:
    """Cancel the job; returns its state afterwards, and what was stopped. A repeated request changes nothing more."""
    job = gateway.client.job(job_id)
    state = await gateway.in_thread(job.cancel)
    return {"job_id": job_id, "state": state, "detail": _detail(state, await gateway.in_thread(job.status))}


def _detail(state: State, job: JobStatus) -> str:
    if state is State.CANCELLED:
        return job.error.message if job.error else "cancelled"
    return f"nothing was stopped: it had ended before, as {state}"
