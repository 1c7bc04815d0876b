"""What a web backend imports: queue images, get instance masks.

    from producer import Client

    job = Client("redis://localhost").submit("cells.png")
    result = job.wait(timeout=60)

Importing this imports no torch, no numba, no scipy and no celery.
"""

from .client import Client
from .contract import Failure, JobStatus, Limits, MaskObject, Options, State
from .errors import (
    BrokerUnavailable,
    InvalidJob,
    JobCancelled,
    JobDead,
    JobExpired,
    JobFailed,
    JobUnfinished,
    MaskqError,
    PayloadMissing,
    PayloadTooLarge,
    QueueFull,
    ResultNotReady,
    StoreFull,
    UnknownJob,
    WaitTimeout,
)
from .job import Job, Result
from .settings import Settings

__all__ = [
    "BrokerUnavailable",
    "Client",
    "Failure",
    "InvalidJob",
    "Job",
    "JobCancelled",
    "JobDead",
    "JobExpired",
    "JobFailed",
    "JobStatus",
    "JobUnfinished",
    "Limits",
    "MaskObject",
    "MaskqError",
    "Options",
    "PayloadMissing",
    "PayloadTooLarge",
    "QueueFull",
    "Result",
    "ResultNotReady",
    "Settings",
    "State",
    "StoreFull",
    "UnknownJob",
    "WaitTimeout",
]
