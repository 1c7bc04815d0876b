"""How long a stranger may take over a body: a limit that grows with what has passed, so none can trickle for ever."""

from __future__ import annotations

import asyncio

#: Bytes a second that a body passes at least, from its beginning on; the first `idle_s` seconds are given.
LEAST_RATE = 100_000
#: After so many seconds in which nothing passes, it is given up.
IDLE_S = 30.0


class Pace:
    """One body's, which begins now."""

    def __init__(self, idle_s: float) -> None:
        self._idle_s = idle_s
        self._began = asyncio.get_running_loop().time()

    def after(self, count: int) -> asyncio.Timeout:
        """A context for the next piece, when `count` bytes have passed: `TimeoutError` where it takes too long."""
        last = self._began + self._idle_s + count / LEAST_RATE
        return asyncio.timeout_at(min(last, asyncio.get_running_loop().time() + self._idle_s))
