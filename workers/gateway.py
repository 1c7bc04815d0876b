"""The HTTP gateway as a process of a stack: supervised, and able to start before its broker.

Run as `python -m maskq.workers.gateway ADDRESS PORT`.
"""

import sys

from maskq.producer.gateway.server import Server, serve
from maskq.producer.settings import Settings

from .supervision.heartbeat import Heartbeat


class EventLoopWatchdog:
    """Detects an event loop that is blocked. Its check runs in a thread, about once a second."""

    def __init__(self, server: Server, max_stalled: float) -> None:
        """`max_stalled` is a number of checks, not seconds: this process may itself have been stopped for a while."""
        self._server, self._max_stalled = server, max_stalled
        self._ticks, self._stalled = -1, 0

    def health(self) -> str | None:
        """Check once: None, or why the server is unhealthy."""
        before, self._ticks = self._ticks, self._server.ticks
        moves = self._ticks != before or self._server.should_exit
        self._stalled = 0 if moves else self._stalled + 1
        return f"its event loop has stood still for {self._stalled} s" if self._stalled > self._max_stalled else None


def main(address: str, port: str) -> None:
    """Serve until SIGTERM."""
    settings = Settings()
    heartbeat = Heartbeat(settings.grace_s)
    serve(
        address,
        int(port),
        on_listening=lambda _, server: heartbeat.ready(EventLoopWatchdog(server, settings.heartbeat_s).health),
        check_broker=False,
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
