"""A stored result → the body of an answer, unparsed, within bounds on what all of them hold in memory."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from anyio import CapacityLimiter
from fastapi.responses import Response
from starlette.types import Receive, Scope, Send

from ..errors import GatewayBusy
from .idle_protocol import abort
from .throughput import IDLE_S, MinThroughput

log = logging.getLogger(__name__)

#: Results that are being read from the store at once; others wait for their turn.
LOADING = 8
#: All the results that are on their way have room for so many of the largest image.
_LARGEST_AT_ONCE = 4
#: Bytes that are handed to the server at once: it takes more only when the reader has taken these.
_PIECE = 1 << 16


@dataclass(frozen=True)
class StoredResult:
    """What is answered."""

    body: bytes
    media_type: str


class Results:
    """The results that are on their way to their readers. One event loop uses it."""

    def __init__(self, max_bytes: int, idle_s: float = IDLE_S) -> None:
        """`max_bytes` are an image's at most; a reader who takes nothing for `idle_s` seconds is given up."""
        self.room, self.idle_s = _LARGEST_AT_ONCE * max_bytes, idle_s
        #: Bytes that are held now.
        self.held = 0
        self._loading = CapacityLimiter(LOADING)

    @asynccontextmanager
    async def hold(self, load: Callable[[], Awaitable[StoredResult]]) -> AsyncIterator[StoredResult]:
        """What `load` finds, for the length of the block. Raises what it raises, and `GatewayBusy`."""
        async with self._loading:
            found = await load()
        size = len(found.body)
        if self.held and self.held + size > self.room:  # one alone is let through, whatever its size
            raise GatewayBusy("too many results are on their way to those who read slowly; try again later")
        self.held += size
        try:
            yield found
        finally:
            self.held -= size


class ResultAnswer(Response):
    """A result, loaded when it is its turn and sent as fast as its reader takes it; of one who takes it too slowly the
    connection is ended.
    """

    def __init__(self, results: Results, load: Callable[[], Awaitable[StoredResult]]) -> None:
        super().__init__()
        self._results, self._load = results, load

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Load and send it. Raises what `Results.hold` does, before anything is sent."""
        async with self._results.hold(self._load) as found:
            try:
                await _send(found, send, MinThroughput(self._results.idle_s))
            except TimeoutError:  # to close it would be to wait until the rest is read
                abort(scope)
                log.warning("%s: its reader takes it too slowly, and is given up", scope["path"])


async def _send(found: StoredResult, send: Send, pace: MinThroughput) -> None:
    body, size = memoryview(found.body), len(found.body)
    headers = [(b"content-length", b"%d" % size), (b"content-type", found.media_type.encode())]
    async with pace.after(0):
        await send({"type": "http.response.start", "status": 200, "headers": headers})
    for begin in range(0, max(1, size), _PIECE):
        end = begin + _PIECE
        async with pace.after(begin):
            await send({"type": "http.response.body", "body": bytes(body[begin:end]), "more_body": end < size})
