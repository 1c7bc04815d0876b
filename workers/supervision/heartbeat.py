"""The link between the supervisor and a process that it started: one socket, inherited.

The process says over it that it is ready, and from then on, about once a second, that it is well; when the supervisor
is gone, however it went, the process ends itself.
"""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable
from contextlib import suppress

log = logging.getLogger(__name__)

#: The environment variable that holds the socket's file descriptor.
LINK_FD = "MASKQ_LINK_FD"
_READY, _BEAT = b"R", b"B"
_EVERY_S = 1.0
#: The exit status of a process whose device is lost.
LOST = 70


class Heartbeat:
    """The process's end of the link; without a supervisor, it only sees to it that a process in trouble ends."""

    def __init__(self, grace_s: float) -> None:
        self._grace_s = grace_s
        descriptor = os.environ.pop(LINK_FD, None)
        self._socket = None if descriptor is None else socket.socket(fileno=int(descriptor))
        if self._socket is not None:
            self._socket.set_inheritable(False)
            threading.Thread(target=self._watch, args=(self._socket,), name="link", daemon=True).start()

    def ready(self, trouble: Callable[[], str | None] = lambda: None) -> None:
        """Tell the supervisor that work can come, and from now on that all is well, for as long as it is.

        When `trouble` has something to say, the beats stop and the supervisor replaces the process, which may no
        longer be able to do anything itself; where there is no supervisor, the process ends at once.
        """
        if self._socket is not None:
            self._socket.sendall(_READY)
        threading.Thread(target=self._beat, args=(trouble,), name="beats", daemon=True).start()

    def _beat(self, trouble: Callable[[], str | None]) -> None:
        pause = threading.Event()
        while not (why := trouble()):
            with suppress(OSError):  # the supervisor is gone: `_watch` sees to that
                if self._socket is not None:
                    self._socket.sendall(_BEAT)
            pause.wait(_EVERY_S)
        log.error("this process is no longer of use: %s", why)
        if self._socket is None:
            os._exit(LOST)

    def _watch(self, link: socket.socket) -> None:
        with suppress(OSError):  # reset: what it had yet to read went with it
            while link.recv(1):
                pass
        os.kill(os.getpid(), signal.SIGTERM)
        threading.Event().wait(self._grace_s)
        os._exit(1)


class HeartbeatMonitor:
    """The supervisor's end: what the process has said, and for how long it has said nothing."""

    def __init__(self, link: socket.socket) -> None:
        self._link = link
        self.ready = False
        #: Seconds since it was last heard, of those in which this process listened: it may itself have been stopped.
        self.silent_s = 0.0

    def listen(self, passed_s: float) -> None:
        """Take in what has come; `passed_s` seconds after the last time. Never waits."""
        try:
            said = self._link.recv(4096, socket.MSG_DONTWAIT)
        except (BlockingIOError, ConnectionResetError):
            said = b""
        self.ready = self.ready or _READY in said
        self.silent_s = 0.0 if said else self.silent_s + min(passed_s, _EVERY_S)

    def close(self) -> None:
        """Let go of the link: the process is gone."""
        self._link.close()
        self.ready = False


def die_with_parent() -> None:
    """For a program that knows no link (redis-server): ask Linux to end it with the thread that started it.

    Elsewhere there is no such call, and a killed supervisor leaves the program running.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)
