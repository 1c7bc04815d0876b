"""Who is refused while still sending is heard out for a moment: else the connection is reset, and the answer lost."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from starlette.types import ASGIApp, Message, Receive, Scope, Send

_MOST_S = 2.0
_REFUSALS = range(400, 600)


class DrainBody:
    """ASGI middleware: before a refusal is sent, the rest of the body is received and dropped, for 2 s at most."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] == "http":
            body = _Body(scope, receive, send)
            receive, send = body.receive, body.send
        await self._app(scope, receive, send)


class _Body:
    """A request's body, and whether there is more of it."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._receive, self._send = receive, send
        headers = dict(scope["headers"])
        # Who expects a 100 before they send anything has sent nothing, and must not be told to begin.
        self._more = b"expect" not in headers and (b"content-length" in headers or b"transfer-encoding" in headers)

    async def receive(self) -> Message:
        message = await self._receive()
        self._more = message.get("more_body", False)
        return message

    async def send(self, message: Message) -> None:
        if self._more and message["type"] == "http.response.start" and message["status"] in _REFUSALS:
            with suppress(TimeoutError):
                async with asyncio.timeout(_MOST_S):
                    while self._more:
                        await self.receive()
        await self._send(message)
