"""Connections that end. Uvicorn's wait for ever: for a request to come whole, for the end of a body that was refused,
and for the last of an answer to be read, even where they are closed.
"""

from __future__ import annotations

import asyncio

from starlette.types import Scope
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from .throughput import IDLE_S

#: Under which name a request's scope has what ends its connection.
_ABORT = "abort"


class IdleTimeoutProtocol(H11Protocol):
    """Uvicorn's, which is looked at every `IDLE_S` seconds, and ended where it has waited for the other side since the
    last look and nothing has come of it.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """The other side is there."""
        super().connection_made(transport)
        self.app_state = {**self.app_state, _ABORT: transport.abort}
        self._pauses = 0
        self._seen: tuple[RequestResponseCycle | None, bool, int, int] | None = None
        self._look()

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone."""
        self._next_look.cancel()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """As much waits to be read as may."""
        self._pauses += 1
        super().pause_writing()

    def _look(self) -> None:
        before, self._seen = self._seen, self._waiting()
        if before is not None and before == self._seen:
            self.transport.abort()
        else:
            self._next_look = self.loop.call_later(IDLE_S, self._look)

    def _waiting(self) -> tuple[RequestResponseCycle | None, bool, int, int] | None:
        """Where it waits for the other side, what would be another if that had done its part; None where a request is
        being worked on, which has its own bounds: `pace`, and how long one may wait for news.
        """
        answered = self.cycle is None or self.cycle.response_complete
        if answered or self.flow.write_paused or self.transport.is_closing():
            return self.cycle, answered, self._pauses, self.transport.get_write_buffer_size()
        return None


def abort(scope: Scope) -> None:
    """End a request's connection, with what of the answer is yet unread; nothing on a server with other connections."""
    scope.get("state", {}).get(_ABORT, lambda: None)()
