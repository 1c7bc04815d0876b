"""Minimum throughput of a body: a timeout that grows with the bytes transferred stops clients that trickle forever."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

#: Minimum rate of a body, bytes per second of waiting for the client; the first `idle_s` seconds do not count.
MIN_BYTES_PER_S = 100_000
#: Timeout if nothing is transferred, seconds.
IDLE_TIMEOUT_S = 30.0


class MinThroughput:
    """The throughput limit of one body."""

    def __init__(self, idle_s: float) -> None:
        self._idle_s = idle_s
        #: Seconds spent waiting for the client; the gateway's own processing does not count.
        self._waited = 0.0

    @asynccontextmanager
    async def timeout(self, transferred: int) -> AsyncIterator[None]:
        """Context manager for the next chunk, after `transferred` bytes. Raises `TimeoutError` if it takes too long."""
        clock = asyncio.get_running_loop().time
        remaining, start = self._idle_s + transferred / MIN_BYTES_PER_S - self._waited, clock()
        try:
            async with asyncio.timeout(min(remaining, self._idle_s)):
                yield
        finally:
            self._waited += clock() - start
