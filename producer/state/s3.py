"""S3 by s3fs, with a limit on the time of each request."""

from __future__ import annotations

import asyncio
from typing import Any

from fsspec.asyn import sync_wrapper
from s3fs import S3FileSystem

#: The longest that a request may take with its repetitions, and what is added for each byte that it sends (seconds).
_LIMIT_S, _BYTE_S = 60.0, 1e-6
#: How often s3fs tries; when it reads an object, the square of it. Each time, botocore tries twice.
_TRIES = 2
#: How long a connection may take, and how long S3 may be silent (seconds). Servers other than AWS's may refuse
#: checksums that no one requires.
_CONFIG = {
    "connect_timeout": 5,
    "read_timeout": 10,
    "retries": {"total_max_attempts": 2},
    "request_checksum_calculation": "when_required",
}


class BoundedS3(S3FileSystem):  # type: ignore[misc]
    """S3, whose requests end: aiohttp waits without a limit for a server to ask for what is to be sent."""

    retries = _TRIES

    @classmethod
    def connected(cls) -> BoundedS3:
        """One with a connection of its own. A cached listing would hide what other processes have written since."""
        return cls(use_listings_cache=False, skip_instance_cache=True, config_kwargs=_CONFIG)

    async def _call_s3(self, method: str, *options: Any, **arguments: Any) -> Any:
        body = arguments.get("Body")
        size = len(body) if isinstance(body, bytes) else 0
        call = super()._call_s3(method, *options, **arguments)
        return await asyncio.wait_for(call, _LIMIT_S + size * _BYTE_S)

    call_s3 = sync_wrapper(_call_s3)
