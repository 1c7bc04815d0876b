"""What the routes share: the gateway's state and the checks of parameters, as FastAPI dependencies, and jobs' paths."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Semaphore
from typing import Annotated, TypeVar

from anyio import CapacityLimiter, to_thread
from fastapi import Depends, Request
from fastapi.concurrency import run_in_threadpool

from ..client.client import Client
from ..errors import InvalidJob, UnknownJob
from ..state.broker_errors import broker_errors
from .limits.downloads import Downloads
from .limits.uploads import Uploads
from .subscriptions import Subscriptions

T = TypeVar("T")

JOBS = "/v1/jobs"
_JOB_ID = re.compile(r"[0-9a-f]{32}(-[0-9]{5,9})?")


@dataclass(frozen=True)
class Gateway:
    """The client of the broker, the subscriptions and the limits of one gateway."""

    client: Client
    subscriptions: Subscriptions
    uploads: Uploads
    downloads: Downloads
    #: Results that are converted to other formats, counted apart from those that are sent as they are stored.
    conversions: Downloads
    #: Threads for readiness checks only: the routes' threads may all be waiting for the broker.
    check_threads: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(4))

    #: Threads that send images to the store: each holds a copy of what it sends.
    upload_threads: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(8))

    #: Threads that convert results: each holds the labels of one.
    conversion_threads: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(2))
    #: Places for zips of many results, which last as long as their clients read.
    zips: Semaphore = field(default_factory=lambda: Semaphore(4))

    async def in_thread(self, call: Callable[[], T]) -> T:
        """Run a blocking call of the client in a thread and return its result. Raises `BrokerUnavailable`."""
        return await run_in_threadpool(broker_errors()(call))

    async def in_conversion_thread(self, call: Callable[[], T]) -> T:
        """As `in_thread`, for a call that converts a result."""
        return await to_thread.run_sync(broker_errors()(call), limiter=self.conversion_threads)

    async def in_upload_thread(self, call: Callable[[], T]) -> T:
        """As `in_thread`, for a call that sends an image."""
        return await to_thread.run_sync(broker_errors()(call), limiter=self.upload_threads)


def links(request: Request, job_id: str) -> dict[str, str]:
    """The paths of a job, as the client sees them: `self`, `result`, `labels`, `events`."""
    path = f"{request.scope.get('root_path', '')}{JOBS}/{job_id}"
    return {"self": path} | {name: f"{path}/{name}" for name in ("result", "labels", "events")}


# Coroutines: FastAPI runs plain functions in the threads in which others may wait for the broker.
async def _gateway(request: Request) -> Gateway:
    gateway: Gateway = request.app.state.gateway
    return gateway


async def _reject_query(request: Request) -> None:
    if request.query_params:
        raise InvalidJob(f"{', '.join(request.query_params)[:200]}: this route takes no query parameters")


async def _valid_job_id(job_id: str) -> str:
    if not _JOB_ID.fullmatch(job_id):
        raise UnknownJob("no such job: an id has 32 digits, 0 to 9 and a to f; that of a stack's plane also its number")
    return job_id


#: Type of a route's parameter that receives the gateway.
GatewayDep = Annotated[Gateway, Depends(_gateway)]
#: Type of a path parameter: a malformed job id is `UnknownJob` without a query to the broker.
JobId = Annotated[str, Depends(_valid_job_id)]
#: Dependencies of a route without query parameters: any is `InvalidJob`.
NO_QUERY = [Depends(_reject_query)]
