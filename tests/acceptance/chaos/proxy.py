"""A TCP proxy between workers and Redis that can drop, refuse, stall and delay what goes through it."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress


class Proxy:
    """Listens on a free port of loopback until `close`; two threads for each connection, one a direction."""

    def __init__(self, upstream: int) -> None:
        """`upstream` is the port that it leads to."""
        self._upstream = upstream
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._links: set[socket.socket] = set()
        self._silent: set[socket.socket] = set()
        self._flowing, self._over = threading.Event(), threading.Event()
        self._flowing.set()
        self._refusing = False
        self._delay_s = 0.0
        self._thread = threading.Thread(target=self._accept, name="proxy", daemon=True)
        self._thread.start()

    def drop(self) -> None:
        """Reset every connection; new ones are let through."""
        for link in list(self._links):
            with suppress(OSError):
                link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                link.shutdown(socket.SHUT_RDWR)

    def silence(self) -> None:
        """Nothing comes through the connections that there are, and no one is told, as where a firewall has forgotten
        them; new ones are let through.
        """
        self._silent |= self._links

    @contextmanager
    def refusing(self) -> Iterator[None]:
        """Reset every connection, and every new one, while the block runs."""
        self._refusing = True
        self.drop()
        try:
            yield
        finally:
            self._refusing = False

    @contextmanager
    def stalled(self) -> Iterator[None]:
        """Connections are made, and nothing comes through them while the block runs; what was sent comes after it."""
        self._flowing.clear()
        try:
            yield
        finally:
            self._flowing.set()

    @contextmanager
    def delayed(self, seconds: float) -> Iterator[None]:
        """Everything takes so much longer, each way, while the block runs."""
        self._delay_s = seconds
        try:
            yield
        finally:
            self._delay_s = 0.0

    def close(self) -> None:
        """Let go of everything."""
        self._over.set()
        self._flowing.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.drop()
        self._thread.join()

    def _accept(self) -> None:
        while not self._over.is_set():
            try:
                theirs, _ = self._listener.accept()
            except OSError:
                return
            try:
                ours = None if self._refusing else socket.create_connection(("127.0.0.1", self._upstream), 5)
            except OSError:  # Redis is down
                ours = None
            if ours is None:
                theirs.close()
            else:
                ours.settimeout(None)
                threading.Thread(target=self._serve, args=(theirs, ours), daemon=True).start()

    def _serve(self, theirs: socket.socket, ours: socket.socket) -> None:
        with theirs, ours:
            self._links |= {theirs, ours}
            back = threading.Thread(target=self._pump, args=(ours, theirs), daemon=True)
            back.start()
            self._pump(theirs, ours)
            back.join()
            self._links -= {theirs, ours}
            self._silent -= {theirs, ours}

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 16):
                self._flowing.wait()
                if source in self._silent:
                    continue
                if self._delay_s:
                    self._over.wait(self._delay_s)
                sink.sendall(data)
        for link in (source, sink):
            with suppress(OSError):
                link.shutdown(socket.SHUT_RDWR)
