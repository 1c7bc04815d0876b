"""The HTTP gateway as a part of a stack: `maskq serve` that ends with its supervisor, and waits for its broker.

Run as `python -m maskq.workers.gateway ADDRESS PORT`.
"""

from __future__ import annotations

import sys

from maskq.producer.gateway.server import Server, serve
from maskq.producer.settings import Settings

from .supervision.heartbeat import Heartbeat


class LoopWatch:
    """Whether a server's event loop comes round. It is looked at from a thread, about once a second."""

    def __init__(self, server: Server, most: float) -> None:
        """`most` are the looks in a row in which it may stand still: looks, for this process may itself be stopped."""
        self._server, self._most = server, most
        self._ticks, self._still = -1, 0

    def trouble(self) -> str | None:
        """One look: what is wrong, if anything is."""
        before, self._ticks = self._ticks, self._server.ticks
        moves = self._ticks != before or self._server.should_exit
        self._still = 0 if moves else self._still + 1
        return f"its event loop has stood still for {self._still} s" if self._still > self._most else None


def main(address: str, port: str) -> None:
    """Answer until told to stop."""
    settings = Settings()
    link = Heartbeat(settings.grace_s)
    serve(
        address,
        int(port),
        listening=lambda _, server: link.ready(LoopWatch(server, settings.heartbeat_s).trouble),
        ask_first=False,
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
