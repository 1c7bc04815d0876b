"""Sends stored results as response bodies, unparsed and with back-pressure, and limits the memory they occupy."""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from anyio import CapacityLimiter
from fastapi.responses import Response
from starlette.types import Receive, Scope, Send

from ..errors import GatewayBusy
from .idle_protocol import abort
from .throughput import IDLE_TIMEOUT_S, MinThroughput

log = logging.getLogger(__name__)

#: How many results are read from the store at once; further requests wait.
MAX_LOADING = 8
#: The limit on buffered results, in images of the maximum size.
_MAX_IMAGES = 4
#: Bytes per chunk: the server accepts the next chunk only after the client has read this one.
_CHUNK = 1 << 16


@dataclass(frozen=True)
class StoredResult:
    """A result as a response body, and its media type."""

    body: bytes
    media_type: str


class Downloads:
    """Counts and limits the results that wait for their clients. Not thread-safe: one event loop uses it."""

    def __init__(self, max_bytes: int, idle_s: float = IDLE_TIMEOUT_S) -> None:
        """`max_bytes` is the maximum size of an image; a client that reads nothing for `idle_s` is disconnected."""
        self.idle_s = idle_s
        #: Bytes of the results that are being sent.
        self.buffered_bytes = 0
        self._limit_bytes = _MAX_IMAGES * max_bytes
        self._loading = CapacityLimiter(MAX_LOADING)

    @asynccontextmanager
    async def buffer(self, load: Callable[[], Awaitable[StoredResult]]) -> AsyncIterator[StoredResult]:
        """The result that `load` returns, counted while the block runs. Raises its errors and `GatewayBusy`."""
        async with self._loading:
            result = await load()
        size = len(result.body)
        if self.buffered_bytes and self.buffered_bytes + size > self._limit_bytes:  # one alone may have any size
            raise GatewayBusy("too many results wait for clients that read slowly; try again later")
        self.buffered_bytes += size
        try:
            yield result
        finally:
            self.buffered_bytes -= size


class ResultResponse(Response):
    """Loads a result and streams it as fast as the client reads; disconnects a client that reads too slowly."""

    def __init__(self, downloads: Downloads, load: Callable[[], Awaitable[StoredResult]]) -> None:
        super().__init__()
        self._downloads, self._load = downloads, load

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Load and send the result. Raises the errors of `Downloads.buffer` before it sends anything."""
        async with self._downloads.buffer(self._load) as result:
            try:
                await _send(result, send, MinThroughput(self._downloads.idle_s))
            except TimeoutError:  # a close would wait until the client has read the rest
                abort(scope)
                log.warning("%s: the client reads too slowly and was disconnected", scope["path"])


async def _send(result: StoredResult, send: Send, throughput: MinThroughput) -> None:
    body, size = memoryview(result.body), len(result.body)
    headers = [(b"content-length", b"%d" % size), (b"content-type", result.media_type.encode())]
    async with throughput.timeout(0):
        await send({"type": "http.response.start", "status": 200, "headers": headers})
    for begin in range(0, max(1, size), _CHUNK):
        end = begin + _CHUNK
        async with throughput.timeout(begin):
            await send({"type": "http.response.body", "body": bytes(body[begin:end]), "more_body": end < size})
