"""Drains the request body before an error response; otherwise TCP resets and the client never sees the response."""

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
        """Handle one request; other events pass through."""
        headers = dict(scope.get("headers", ()))
        # With `Expect: 100-continue` the client has sent no body yet; to receive would tell it to start.
        more = b"expect" not in headers and (b"content-length" in headers or b"transfer-encoding" in headers)

        async def tracking_receive() -> Message:
            nonlocal more
            message = await receive()
            more = message.get("more_body", False)
            return message

        async def draining_send(message: Message) -> None:
            if more and message["type"] == "http.response.start" and message["status"] in _ERROR_STATUSES:
                with suppress(TimeoutError):
                    async with asyncio.timeout(_DRAIN_S):
                        while more:
                            await tracking_receive()
            await send(message)

        await self._app(scope, tracking_receive, draining_send)
