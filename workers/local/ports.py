"""TCP ports on loopback for the stack's services."""

import errno
import socket
from collections.abc import Container


class PortTaken(RuntimeError):
    """A service can't listen on its port, mostly because another program does."""


def free_port() -> int:
    """A port on which nothing listens now."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def loopback_port(service: str, port: int, reserved: Container[int | None] = ()) -> int:
    """Check that `service` can listen on `port`, and return it; 0 chooses a free one.

    `reserved` are ports of services that don't listen yet. Raises `PortTaken`.
    """
    if not port:
        return free_port()
    if port in reserved:
        raise _refused(service, port, "is another part's as well")
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError as error:
        message = (error.strerror or str(error)).partition(" (")[0]
        reason = "is taken" if error.errno == errno.EADDRINUSE else f"can't be had ({message})"
        raise _refused(service, port, reason) from error
    return port


def _refused(service: str, port: int, reason: str) -> PortTaken:
    name = f"MASKQ_{service.upper()}_PORT"
    return PortTaken(f"port {port} {reason}: set {name} to another for the {service}, 0 takes a free one")
