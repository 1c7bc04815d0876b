"""Queue images, get instance masks.

    from maskq import Client

    job = Client("redis://localhost").submit("cells.png")
    result = job.wait(timeout=60)

Importing `maskq` loads no torch, numba, scipy or celery. Only the names listed here and in `maskq.testing` are public;
the packages `maskq.producer`, `maskq.segmentation`, `maskq.tasks`, `maskq.workers` and `maskq.cli` are implementation.
"""

from importlib.metadata import version

from maskq.producer.client.client import Client
from maskq.producer.client.job import Job, Result
from maskq.producer.errors import (
    BrokerUnavailable,
    ContainerUnavailable,
    FormatNotApplicable,
    FormatUnavailable,
    IdempotencyConflict,
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
    StoreUnavailable,
    UnknownFormat,
    UnknownJob,
    WaitTimeout,
)
from maskq.producer.formats.folder import ResultFolder
from maskq.producer.formats.registry import register
from maskq.producer.schema import Failure, JobStatus, Limits, MaskObject, Options, State
from maskq.producer.settings import Settings
from maskq.tasks import overlay_format

__version__ = version("maskq")

register(overlay_format.FORMAT)

__all__ = [
    "BrokerUnavailable",
    "Client",
    "ContainerUnavailable",
    "Failure",
    "FormatNotApplicable",
    "FormatUnavailable",
    "IdempotencyConflict",
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
    "ResultFolder",
    "ResultNotReady",
    "Settings",
    "State",
    "StoreFull",
    "StoreUnavailable",
    "UnknownFormat",
    "UnknownJob",
    "WaitTimeout",
]
