"""How long a stranger may take over a body: a limit that grows with what has passed, so none can trickle for ever."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

#: Bytes a second that a body passes at least, of the time that is spent waiting for the stranger; the first `idle_s`
#: seconds are given.
LEAST_RATE = 100_000
#: After so many seconds in which nothing passes, it is given up.
IDLE_S = 30.0


class MinThroughput:
    """One body's."""

    def __init__(self, idle_s: float) -> None:
        self._idle_s = idle_s
        #: Seconds that have been spent waiting for it: what the gateway itself takes is no fault of the stranger's.
        self._waited = 0.0

    @asynccontextmanager
    async def after(self, count: int) -> AsyncIterator[None]:
        """A context for the next piece, when `count` bytes have passed: `TimeoutError` where it takes too long."""
        clock = asyncio.get_running_loop().time
        left, began = self._idle_s + count / LEAST_RATE - self._waited, clock()
        try:
            async with asyncio.timeout(min(left, self._idle_s)):
                yield
        finally:
            self._waited += clock() - began
