"""What an error of a file system or an object store means for a job, and what to do about it."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from ..errors import MaskqError, StoreFull, StoreUnavailable

#: How a file system reports that there is no room: on the disk, in the user's quota, in one file.
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
#: How object stores report it.
_NO_ROOM_CODES = {"QuotaExceeded", "InsufficientStorage", "XMinioStorageFull", "507"}

_KEYS = "correct AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
_REGION = "set AWS_DEFAULT_REGION to the bucket's region, and AWS_ENDPOINT_URL if it is not on AWS"
_BUSY = "it is busy or throttles; lower the load, or ask for a higher limit"
#: An error code of S3 → what to do.
_REMEDIES = {
    "NoSuchBucket": "create the bucket, or correct MASKQ_STORE_URL",
    "InvalidBucketName": "correct MASKQ_STORE_URL",
    "AccessDenied": "allow this key s3:GetObject, s3:PutObject and s3:DeleteObject on the bucket's objects, and "
    "s3:ListBucket on the bucket",
    "ExpiredToken": "renew AWS_SESSION_TOKEN",
    "InvalidToken": "renew AWS_SESSION_TOKEN",
    "InvalidAccessKeyId": _KEYS,
    "SignatureDoesNotMatch": _KEYS,
    "RequestTimeTooSkewed": "set this machine's clock",
    "PermanentRedirect": _REGION,
    "AuthorizationHeaderMalformed": _REGION,
    "IllegalLocationConstraintException": _REGION,
    "301": _REGION,
    "307": _REGION,
    "SlowDown": _BUSY,
    "ServiceUnavailable": _BUSY,
    "Throttling": _BUSY,
    "RequestLimitExceeded": _BUSY,
    "503": _BUSY,
    "InternalError": "try again later",
}


@contextmanager
def store_errors(place: str) -> Iterator[None]:
    """Turn the errors of the store at `place` into `StoreFull` or `StoreUnavailable`.

    `FileNotFoundError` stays if only the file is missing.
    """
    try:
        yield
    except Exception as error:
        if explained := explain(error, place):
            raise explained from error
        raise


def explain(error: Exception, place: str) -> MaskqError | None:
    """The typed error for an error of fsspec or botocore; None for a missing file, and for what is no store's error."""
    code = _code(error)
    if code in _NO_ROOM_CODES or (isinstance(error, OSError) and error.errno in _NO_ROOM):
        return StoreFull(f"no room in {place}: {_text(error)}")
    if code and (code != "404" and code != "NoSuchKey"):
        remedy = _REMEDIES.get(code)
        return StoreUnavailable(f"{place}: {code}: {_text(error)}" + (f"; {remedy}" if remedy else ""))
    if isinstance(error, FileNotFoundError):
        return None
    if _is_botocore(error) or isinstance(error, TimeoutError):
        return StoreUnavailable(f"{place} does not answer: {_text(error)}{_connection_remedy(error)}")
    if isinstance(error, PermissionError):
        return StoreUnavailable(f"{place}: {_text(error)}; give this user the right to read and write there")
    return StoreUnavailable(f"{place}: {_text(error)}") if isinstance(error, OSError) else None


def _code(error: BaseException) -> str | None:
    """S3's error code, such as `AccessDenied`; None if S3 has not answered with one."""
    cause: BaseException | None = error
    while cause is not None:  # s3fs translates botocore's error, and keeps it as the cause
        response = getattr(cause, "response", None)
        if isinstance(response, dict) and "Error" in response:
            return str(response["Error"].get("Code") or "") or None
        cause = cause.__cause__
    return None


def _is_botocore(error: Exception) -> bool:
    packages = {kind.__module__.partition(".")[0] for kind in type(error).__mro__}
    return bool(packages & {"botocore", "aiobotocore", "aiohttp"})


def _connection_remedy(error: Exception) -> str:
    name = type(error).__name__
    if "Credential" in name or "Token" in name:
        return "; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
    return "; correct AWS_ENDPOINT_URL and AWS_DEFAULT_REGION, or bring the server back"


def _text(error: Exception) -> str:
    """The error's message, without a trailing full stop."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return (text or type(error).__name__).rstrip(".")
