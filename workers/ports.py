"""TCP ports on loopback for what listens there."""

from __future__ import annotations

import socket


class PortTaken(RuntimeError):
    """Something else listens on a port that was asked for."""


def free_port() -> int:
    """A port that nothing listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def loopback_port(of: str, wanted: int) -> int:
    """The port `wanted` by a part of the stack, or a free one where that is 0. Raises `PortTaken`."""
    if not wanted:
        return free_port()
    try:
        socket.create_server(("127.0.0.1", wanted)).close()
    except OSError as error:
        name = f"MASKQ_{of.upper()}_PORT"
        raise PortTaken(f"port {wanted} is taken: set {name} to another for the {of}, 0 takes a free one") from error
    return wanted
