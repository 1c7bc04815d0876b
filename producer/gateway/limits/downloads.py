"""Sends stored results as response bodies: piece by piece, unparsed, with back-pressure and limited memory."""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from anyio import CapacityLimiter
from fastapi import Request
from fastapi.responses import Response
from starlette.types import Receive, Scope, Send

from ...errors import BrokerUnavailable, StoreUnavailable
from ...state.pieces import Replaced
from ..errors import GatewayBusy
from ..head import is_head
from .idle_protocol import abort
from .throughput import IDLE_TIMEOUT_S, MinThroughput

log = logging.getLogger(__name__)

#: How many pieces of results are read from the store at once; further requests wait.
MAX_LOADING = 8
#: The limit on buffered pieces of results, in images of the maximum size.
_MAX_IMAGES = 4
#: Bytes per chunk: the server accepts the next chunk only after the client has read this one.
_CHUNK = 1 << 16


@dataclass(frozen=True)
class StoredResult:
    """A result as a response body."""

    media_type: str
    #: Bytes in all; None if that is known only at the end.
    size: int | None
    #: Bytes of the longest piece.
    piece_size: int
    #: The pieces in order, none empty, each read when it is asked for.
    pieces: Iterator[bytes]
    #: Names in small letters and values.
    headers: tuple[tuple[bytes, bytes], ...] = ()


class Downloads:
    """Counts and limits the results that wait for their clients. Not thread-safe: one event loop uses it."""

    def __init__(self, max_bytes: int, idle_s: float = IDLE_TIMEOUT_S) -> None:
        """`max_bytes` is the maximum size of an image; a client that reads nothing for `idle_s` is disconnected."""
        self.idle_s = idle_s
        #: Bytes of the pieces that are being sent.
        self.buffered_bytes = 0
        self._limit_bytes = _MAX_IMAGES * max_bytes
        self._loading = CapacityLimiter(MAX_LOADING)

    async def load(self, call: Callable[[], Awaitable[Any]]) -> Any:
        """Load something from the store; `MAX_LOADING` calls at once."""
        async with self._loading:
            return await call()

    @asynccontextmanager
    async def buffer(self, load: Callable[[], Awaitable[StoredResult]]) -> AsyncIterator[StoredResult]:
        """The result that `load` returns; one piece of it counts while the block runs.

        Raises the errors of `load`, and `GatewayBusy`.
        """
        result: StoredResult = await self.load(load)
        size = result.piece_size
        if self.buffered_bytes and self.buffered_bytes + size > self._limit_bytes:  # one alone may have any size
            raise GatewayBusy("too many results wait for clients that read slowly; try again later")
        self.buffered_bytes += size
        try:
            yield result
        finally:
            self.buffered_bytes -= size


class ResultResponse(Response):
    """Streams a result as fast as the client reads; disconnects a client that reads too slowly."""

    def __init__(
        self,
        downloads: Downloads,
        load: Callable[[], StoredResult],
        in_thread: Callable[[Callable[[], Any]], Awaitable[Any]],
    ) -> None:
        super().__init__()
        self._downloads, self._load, self._in_thread = downloads, load, in_thread

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Load and send the result. Raises the errors of `Downloads.buffer` before it sends anything."""
        async with self._downloads.buffer(lambda: self._in_thread(self._load)) as result:
            try:
                await self._send(result, Request(scope, receive), send)
            except TimeoutError:  # a close would wait until the client has read the rest
                abort(scope)
                log.warning("%s: the client reads too slowly and was disconnected", scope["path"])
            except (Replaced, BrokerUnavailable, StoreUnavailable) as error:  # it is too late for another status
                abort(scope)
                log.warning("%s: cut off, since the rest can't be read: %s", scope["path"], error)
            finally:
                if isinstance(result.pieces, Generator):
                    result.pieces.close()

    async def _send(self, result: StoredResult, request: Request, send: Send) -> None:
        throughput, sent, head = MinThroughput(self._downloads.idle_s), 0, is_head(request.scope)
        headers = [(b"content-type", result.media_type.encode()), *result.headers]
        if result.size is not None:
            headers.append((b"content-length", b"%d" % result.size))
        async with throughput.timeout(0):
            await send({"type": "http.response.start", "status": 200, "headers": headers})
        while not head and (piece := await self._next(result)):
            if result.size is None and await request.is_disconnected():
                return  # what is made while it is sent is made for nobody
            for begin in range(0, len(piece), _CHUNK):
                chunk = piece[begin : begin + _CHUNK]
                async with throughput.timeout(sent):
                    await send({"type": "http.response.body", "body": chunk, "more_body": True})
                sent += len(chunk)
        async with throughput.timeout(sent):
            await send({"type": "http.response.body"})

    async def _next(self, result: StoredResult) -> bytes | None:
        piece: bytes | None = await self._downloads.load(lambda: self._in_thread(lambda: next(result.pieces, None)))
        return piece
