"""HEAD requests: answered as GET is, without the body."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

#: The end of the path of event streams. Their answer has no end, so they know GET only.
_EVENTS = "/events"
#: The scope's entry that tells HEAD from GET.
_HEAD = "maskq.head"


def allows_head(path: str) -> bool:
    """Whether HEAD is answered for a path that answers GET."""
    return not path.endswith(_EVENTS)


def is_head(scope: Scope) -> bool:
    """Whether a request that routes see as GET is HEAD, so that a body would be dropped."""
    return _HEAD in scope


class HeadAsGet:
    """ASGI middleware: routes see GET, clients get the head of the response."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request; other events pass through."""
        if scope["type"] != "http" or scope["method"] != "HEAD" or not allows_head(scope["path"]):
            await self._app(scope, receive, send)
            return
        ended = False

        async def send_head(message: Message) -> None:
            nonlocal ended
            if message["type"] != "http.response.body":
                await send(message)
            elif not ended:
                ended = True
                await send({"type": "http.response.body"})

        await self._app({**scope, "method": "GET", _HEAD: True}, receive, send_head)
