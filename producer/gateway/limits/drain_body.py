"""Drains the request body before an error response; otherwise TCP resets and the client never sees the response."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from starlette.types import ASGIApp, Message, Receive, Scope, Send

_DRAIN_S = 2.0
_ERROR_STATUSES = range(400, 600)


class DrainBody:
    """ASGI middleware: before an error response, receives and drops the rest of the body, for 2 s at most."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] == "http":
            body = _Body(scope, receive, send)
            receive, send = body.receive, body.send
        await self._app(scope, receive, send)


class _Body:
    """Tracks whether a request's body has been received completely."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._receive, self._send = receive, send
        headers = dict(scope["headers"])
        # With `Expect: 100-continue` the client has sent no body yet; to receive would tell it to start.
        self._more = b"expect" not in headers and (b"content-length" in headers or b"transfer-encoding" in headers)

    async def receive(self) -> Message:
        message = await self._receive()
        self._more = message.get("more_body", False)
        return message

    async def send(self, message: Message) -> None:
        if self._more and message["type"] == "http.response.start" and message["status"] in _ERROR_STATUSES:
            with suppress(TimeoutError):
                async with asyncio.timeout(_DRAIN_S):
                    while self._more:
                        await self.receive()
        await self._send(message)
