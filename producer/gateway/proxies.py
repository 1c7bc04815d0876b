"""What a proxy in front of the gateway says of a request: client, scheme, and the prefix under which paths are seen."""

import re

from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

#: A prefix of paths. It comes back in links, so it is nothing but path segments.
_PREFIX = re.compile(r"(/[A-Za-z0-9._~-]{1,100}){1,10}")
#: The scope's entry for the prefix of this request.
_ENTRY = "maskq.prefix"


class BehindProxies:
    """ASGI middleware outside the application: believes trusted proxies.

    They give the scheme (`X-Forwarded-Proto`), the client (`-For`) and the prefix (`-Prefix`). No answer depends on the
    host that a request names, so there is nothing to believe about it.
    """

    def __init__(self, app: ASGIApp, trusted: str) -> None:
        """`trusted` are addresses and networks, such as `127.0.0.1,10.0.0.0/8`; `*` is everyone."""
        self._app = app
        self._proxied = ProxyHeadersMiddleware(self._with_prefix, trusted)  # type: ignore[arg-type]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request; other events pass through."""
        host, *_ = scope.get("client") or (None,)
        if scope["type"] == "http" and host in self._proxied.trusted_hosts:
            await self._proxied(scope, receive, send)  # type: ignore[arg-type]
        else:
            await self._app(scope, receive, send)

    async def _with_prefix(self, scope: Scope, receive: Receive, send: Send) -> None:
        prefix = dict(scope["headers"]).get(b"x-forwarded-prefix", b"").decode("latin-1").rstrip("/")
        await self._app({**scope, _ENTRY: prefix} if _PREFIX.fullmatch(prefix) else scope, receive, send)


class RootPath:
    """ASGI middleware inside the application: the proxy's prefix, or else the setting's, is the root path."""

    def __init__(self, app: ASGIApp, prefix: str) -> None:
        self._app, self._prefix = app, prefix

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request; other events pass through."""
        prefix = scope.get(_ENTRY) or self._prefix
        if prefix and scope["type"] == "http":
            path = scope["path"]  # a proxy may send it with the prefix or without; ASGI's has it
            scope = {**scope, "root_path": prefix, "path": path if path.startswith(f"{prefix}/") else prefix + path}
        await self._app(scope, receive, send)
