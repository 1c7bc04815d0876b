"""Idle timeout of connections. Uvicorn has none: it waits forever for a complete request, for the end of a rejected
body, and for the client to read the last of a response, even on a connection that it has closed.
"""

import asyncio
from typing import TypeAlias

from starlette.types import Scope
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from .throughput import IDLE_TIMEOUT_S

#: Key of the function in a request's scope that aborts the connection.
_ABORT = "abort"

#: The last request, whether its response is complete, how often the write buffer was full, bytes in the write buffer.
_Snapshot: TypeAlias = tuple[RequestResponseCycle | None, bool, int, int]


class IdleTimeoutProtocol(H11Protocol):
    """Uvicorn's HTTP protocol with an idle timeout. Checks the connection every `IDLE_TIMEOUT_S` seconds and aborts it
    if it has waited for the client since the last check without any progress.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Called when a client connects."""
        super().connection_made(transport)
        self.app_state = {**self.app_state, _ABORT: transport.abort}
        self._pauses = 0
        self._snapshot: _Snapshot | None = None
        self._check()

    def connection_lost(self, exc: Exception | None) -> None:
        """Called when the connection is closed."""
        self._next_check.cancel()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Called when the write buffer is full."""
        self._pauses += 1
        super().pause_writing()

    def _check(self) -> None:
        previous, self._snapshot = self._snapshot, self._take_snapshot()
        if previous is not None and previous == self._snapshot:
            self.transport.abort()
        else:
            self._next_check = self.loop.call_later(IDLE_TIMEOUT_S, self._check)

    def _take_snapshot(self) -> _Snapshot | None:
        """Snapshot of a connection that waits for its client; two equal snapshots mean no progress.

        None while the app works on a request, which `MinThroughput` and the duration of subscriptions limit.
        """
        complete = self.cycle is None or self.cycle.response_complete
        if complete or self.flow.write_paused or self.transport.is_closing():
            return self.cycle, complete, self._pauses, self.transport.get_write_buffer_size()
        return None


def abort(scope: Scope) -> None:
    """Abort a request's connection and drop the unread rest of its response; no effect under another server."""
    scope.get("state", {}).get(_ABORT, lambda: None)()
