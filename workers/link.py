"""The link between the supervisor and a process that it started: one socket, inherited.

The process says over it that it is ready; when the supervisor is gone, however it went, the process ends itself.
"""

from __future__ import annotations

import os
import signal
import socket
import threading

#: The environment variable that holds the socket's file descriptor.
LINK_FD = "MASKQ_LINK_FD"
_READY = b"R"


class Link:
    """The process's end of the link; without a supervisor, it does nothing."""

    def __init__(self, grace_s: float) -> None:
        self._grace_s = grace_s
        descriptor = os.environ.pop(LINK_FD, None)
        self._socket = None if descriptor is None else socket.socket(fileno=int(descriptor))
        if self._socket is not None:
            self._socket.set_inheritable(False)
            threading.Thread(target=self._watch, args=(self._socket,), name="link", daemon=True).start()

    def ready(self) -> None:
        """Tell the supervisor that work can come."""
        if self._socket is not None:
            self._socket.sendall(_READY)

    def _watch(self, link: socket.socket) -> None:
        while link.recv(1):
            pass
        os.kill(os.getpid(), signal.SIGTERM)
        threading.Event().wait(self._grace_s)
        os._exit(1)


def is_ready(link: socket.socket) -> bool:
    """Whether the process at the other end has said that it is ready; never waits."""
    try:
        return link.recv(1, socket.MSG_DONTWAIT) == _READY
    except BlockingIOError:
        return False


def die_with_parent() -> None:
    """For a program that knows no link (redis-server): ask Linux to end it with the thread that started it.

    Elsewhere there is no such call, and a killed supervisor leaves the program running.
    """
    import ctypes
    import sys

    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)
