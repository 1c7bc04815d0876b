"""What can go wrong between a web backend and its masks.

    MaskqError
    ├── InvalidJob             what was asked for can't be asked for
    │   └── PayloadTooLarge    the image is over the limit of bytes
    ├── QueueFull              too many jobs are unfinished; try again later
    ├── StoreFull              there is no room for the image; try again later
    ├── UnknownJob             no such job, or its retention time is over
    ├── ResultNotReady         the job is not done yet
    ├── WaitTimeout            it was not done in the time given
    ├── PayloadMissing         the store no longer has it
    ├── BrokerUnavailable      nothing answers at the broker's address
    └── JobUnfinished          the job ended without a result; knows the job's `error`
        ├── JobFailed          its image or model can't be used
        ├── JobCancelled       someone cancelled it
        ├── JobExpired         its time was over before it was done
        └── JobDead            it broke its workers, or they broke, too often

Each knows the HTTP status that a gateway answers it with.
"""

from __future__ import annotations

from .schema import Failure


class MaskqError(Exception):
    """The root of the producer's errors."""

    status = 500


class InvalidJob(MaskqError):
    """What was asked for can't be asked for."""

    status = 422


class PayloadTooLarge(InvalidJob):
    """The image is over the limit of bytes."""

    status = 413


class QueueFull(MaskqError):
    """Too many jobs are unfinished; try again later."""

    status = 429

    def __init__(self, message: str, retry_after_s: float = 10.0) -> None:
        super().__init__(message)
        #: When there may be room, seconds, as far as the rate of the last minute tells.
        self.retry_after_s = retry_after_s


class StoreFull(MaskqError):
    """There is no room for the image; try again later."""

    status = 507


class UnknownJob(MaskqError):
    """No such job, or its retention time is over."""

    status = 404


class ResultNotReady(MaskqError):
    """The job is not done yet."""

    status = 409


class WaitTimeout(MaskqError):
    """The job was not done in the time given; it goes on."""

    status = 504


class PayloadMissing(MaskqError):
    """The store no longer has these bytes."""

    status = 410


class BrokerUnavailable(MaskqError):
    """Nothing answers at the broker's address."""

    status = 503


class JobUnfinished(MaskqError):
    """The job ended without a result."""

    status = 422

    def __init__(self, job_id: str, error: Failure) -> None:
        super().__init__(error.message)
        self.job_id = job_id
        #: What went wrong: its type (such as `TruncatedImage`), message and stage.
        self.error = error


class JobFailed(JobUnfinished):
    """The job's image or model can't be used."""


class JobCancelled(JobUnfinished):
    """Someone cancelled the job."""

    status = 410


class JobExpired(JobUnfinished):
    """The job's time was over before it was done."""

    status = 410


class JobDead(JobUnfinished):
    """The job was tried as often as is allowed, and no worker finished it."""

    status = 500
