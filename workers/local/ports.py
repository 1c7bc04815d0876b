"""TCP ports on loopback for what listens there."""

from __future__ import annotations

import errno
import socket
from collections.abc import Container


class PortTaken(RuntimeError):
    """A port that was asked for can't be listened on: mostly because something else does."""


def free_port() -> int:
    """A port that nothing listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def loopback_port(of: str, wanted: int, others: Container[int | None] = ()) -> int:
    """The port `wanted` by a part of the stack, or a free one where that is 0; `others` are those of other parts, which
    don't listen yet. Raises `PortTaken`.
    """
    if not wanted:
        return free_port()
    if wanted in others:
        raise _refused(of, wanted, "is another part's as well")
    try:
        socket.create_server(("127.0.0.1", wanted)).close()
    except OSError as error:
        words = (error.strerror or str(error)).partition(" (")[0]
        why = "is taken" if error.errno == errno.EADDRINUSE else f"can't be had ({words})"
        raise _refused(of, wanted, why) from error
    return wanted


def _refused(of: str, wanted: int, why: str) -> PortTaken:
    name = f"MASKQ_{of.upper()}_PORT"
    return PortTaken(f"port {wanted} {why}: set {name} to another for the {of}, 0 takes a free one")
