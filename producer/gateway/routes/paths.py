"""The paths of jobs, and the parameters that their routes share."""

from __future__ import annotations

import re
from typing import Annotated

from fastapi import Depends, Request

from ...errors import InvalidJob, UnknownJob

JOBS = "/v1/jobs"
_JOB_ID = re.compile(r"[0-9a-f]{32}")


def links(job_id: str) -> dict[str, str]:
    """The paths of a job: `self`, `result`, `labels`, `events`."""
    path = f"{JOBS}/{job_id}"
    return {"self": path} | {name: f"{path}/{name}" for name in ("result", "labels", "events")}


def _reject_query(request: Request) -> None:
    if request.query_params:
        raise InvalidJob(f"{', '.join(request.query_params)[:200]}: this route takes no query parameters")


def _valid_job_id(job_id: str) -> str:
    if not _JOB_ID.fullmatch(job_id):
        raise UnknownJob("no such job: an id has 32 digits, 0 to 9 and a to f")
    return job_id


#: Type of a path parameter: a malformed job id is `UnknownJob` without a query to the broker.
JobId = Annotated[str, Depends(_valid_job_id)]
#: Dependencies of a route without query parameters: any is `InvalidJob`.
NO_QUERY = [Depends(_reject_query)]
