"""The errors of producers: everything that a web backend can get instead of masks.

    MaskqError
    ├── InvalidJob             the request is invalid
    │   ├── PayloadTooLarge    the image file is larger than the limit
    │   ├── IdempotencyConflict   the idempotency key was used for another request
    │   ├── ContainerUnavailable   packages that read this kind of file are not installed
    │   ├── UnknownFormat      no result format has this name
    │   ├── FormatNotApplicable   the format can't represent this result
    │   └── FormatUnavailable  packages that write this format are not installed
    ├── QueueFull              too many jobs are unfinished; retry later
    ├── StoreFull              the store has no room for the image; retry later
    ├── StoreUnavailable       the payload store does not answer, or refuses
    ├── UnknownJob             no such job, or it was deleted after its retention time
    ├── ResultNotReady         the job is not done yet
    ├── WaitTimeout            the job was not done within the timeout
    ├── PayloadMissing         the store no longer has the payload
    ├── BrokerUnavailable      the broker does not answer
    └── JobUnfinished          the job ended without a result; has the job's `error`
        ├── JobFailed          the image or model can't be used
        ├── JobCancelled       the job was cancelled
        ├── JobExpired         the job's deadline passed before it was done
        └── JobDead            all attempts failed through faults of workers, or killed them

Each class has the HTTP `status` that a gateway responds with; its docstring is the title of that response.
"""

from .schema import Failure


class MaskqError(Exception):
    """The root of the producer's errors."""

    status = 500


class InvalidJob(MaskqError):
    """The request is invalid."""

    status = 422


class PayloadTooLarge(InvalidJob):
    """The image file is larger than the limit."""

    status = 413


class IdempotencyConflict(InvalidJob):
    """The idempotency key was used for another request."""


class ContainerUnavailable(InvalidJob):
    """The packages that read this kind of file are not installed."""


class UnknownFormat(InvalidJob):
    """No result format has this name."""


class FormatNotApplicable(InvalidJob):
    """The format can't represent this result."""


class FormatUnavailable(InvalidJob):
    """The packages that write this format are not installed."""

    status = 501


class QueueFull(MaskqError):
    """Too many jobs are unfinished; retry later."""

    status = 429

    def __init__(self, message: str, retry_after_s: float = 10.0) -> None:
        super().__init__(message)
        #: Estimated time until there is room, seconds, from the rate of the last minute.
        self.retry_after_s = retry_after_s


class StoreFull(MaskqError):
    """The store has no room for the image; retry later."""

    status = 507


class StoreUnavailable(MaskqError):
    """The payload store does not answer, or refuses access."""

    status = 503


class UnknownJob(MaskqError):
    """No such job, or it was deleted after its retention time."""

    status = 404


class ResultNotReady(MaskqError):
    """The job is not done yet."""

    status = 409


class WaitTimeout(MaskqError):
    """The job was not done within the timeout; it continues."""

    status = 504


class PayloadMissing(MaskqError):
    """The store no longer has the payload."""

    status = 410


class BrokerUnavailable(MaskqError):
    """The broker does not answer."""

    status = 503


class JobUnfinished(MaskqError):
    """The job ended without a result."""

    status = 422

    def __init__(self, job_id: str, error: Failure) -> None:
        super().__init__(error.message)
        self.job_id = job_id
        #: The reason: an error type (such as `TruncatedImage`), a message and the stage.
        self.error = error


class JobFailed(JobUnfinished):
    """The image or model can't be used."""


class JobCancelled(JobUnfinished):
    """The job was cancelled."""

    status = 410


class JobExpired(JobUnfinished):
    """The job's deadline passed before it was done."""

    status = 410


class JobDead(JobUnfinished):
    """All attempts at the job failed; no worker finished it."""

    status = 500
