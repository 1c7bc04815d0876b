"""Heartbeats of a supervised process, over a socket that it inherits from the supervisor.

The process reports that it is ready, and from then on, once a second, that it is healthy. If the supervisor dies, the
socket closes and the process ends itself.
"""

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

#: The environment variable with the socket's file descriptor.
HEARTBEAT_FD = "MASKQ_HEARTBEAT_FD"
_READY, _BEAT = b"R", b"B"
_INTERVAL_S = 1.0
#: The exit status of a process that is no longer healthy: its device is lost, for example.
EXIT_UNHEALTHY = 70


class Heartbeat:
    """The process's end of the socket. Without a supervisor it only ends the process when that becomes unhealthy."""

    def __init__(self, grace_s: float) -> None:
        """`grace_s` is the time for a graceful shutdown after the supervisor's death, seconds."""
        self._grace_s = grace_s
        descriptor = os.environ.pop(HEARTBEAT_FD, None)
        self._socket = None if descriptor is None else socket.socket(fileno=int(descriptor))
        if self._socket is not None:
            self._socket.set_inheritable(False)
            threading.Thread(target=self._watch_supervisor, args=(self._socket,), name="heartbeat", daemon=True).start()

    def ready(self, health: Callable[[], str | None] = lambda: None) -> None:
        """Report that the process can take work, and start the heartbeats.

        `health` is called before each beat; it returns None, or why the process is unhealthy. Then the beats stop and
        the supervisor replaces the process, which may be unable to end itself. Without a supervisor it exits at once.
        """
        if self._socket is not None:
            self._socket.sendall(_READY)
        threading.Thread(target=self._beat, args=(health,), name="beats", daemon=True).start()

    def _beat(self, health: Callable[[], str | None]) -> None:
        pause = threading.Event()
        while not (problem := health()):
            with suppress(OSError):  # the supervisor is gone; `_watch_supervisor` handles that
                if self._socket is not None:
                    self._socket.sendall(_BEAT)
            pause.wait(_INTERVAL_S)
        log.error("this process is unhealthy and has to be replaced: %s", problem)
        if self._socket is None:
            os._exit(EXIT_UNHEALTHY)

    def _watch_supervisor(self, connection: socket.socket) -> None:
        """Shut down when the supervisor's end closes: gracefully, then at once."""
        with suppress(OSError):  # it is reset, not closed, if the supervisor died with beats unread
            while connection.recv(1):
                pass
        os.kill(os.getpid(), signal.SIGTERM)
        threading.Event().wait(self._grace_s)
        os._exit(1)


class HeartbeatMonitor:
    """The supervisor's end of the socket: whether the process is ready, and for how long it has been silent."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self.ready = False
        #: Seconds since the last beat. Only time in which the supervisor ran counts: it may have been stopped itself.
        self.silent_s = 0.0

    def poll(self, elapsed_s: float) -> None:
        """Read the beats that have arrived in the `elapsed_s` seconds since the last call. Never blocks."""
        try:
            beats = self._connection.recv(4096, socket.MSG_DONTWAIT)
        except (BlockingIOError, ConnectionResetError):
            beats = b""
        self.ready = self.ready or _READY in beats
        self.silent_s = 0.0 if beats else self.silent_s + min(elapsed_s, _INTERVAL_S)

    def close(self) -> None:
        """Close the socket of a process that has ended."""
        self._connection.close()
        self.ready = False


def set_parent_death_signal() -> None:
    """Have Linux send this process SIGTERM when the thread that started it ends; for programs without a heartbeat.

    Other systems have no such call: there, a program such as redis-server outlives a killed supervisor.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)
