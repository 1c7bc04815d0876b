"""`maskq serve`: the process of the gateway."""

from __future__ import annotations

import logging
import math
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

import python_multipart  # noqa: F401  missed now, not at the first upload
import uvicorn
from rich.console import Console

from ..client import Client
from ..errors import MaskqError
from ..settings import Settings
from .app import create_app
from .news import News

console = Console(highlight=False)


class CannotListen(MaskqError):
    """The address can't be listened on."""


def _say(url: str) -> None:
    console.print(f"gateway: {url}/docs    Ctrl-C stops it")


def serve(address: str, port: int, listening: Callable[[str], None] = _say) -> int:
    """Answer until SIGTERM or Ctrl-C; `listening` is told the URL. Raises `CannotListen`, `InvalidJob` and
    `BrokerUnavailable`.
    """
    settings = Settings().with_broker()
    logging.basicConfig(level=settings.log_level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    client = Client(settings=settings)
    client.check()
    with _socket(address, port) as listener:
        host, taken, *_ = listener.getsockname()
        listening(f"http://{f'[{host}]' if ':' in host else host}:{taken}")
        news = News(settings.broker_url or "")
        _Server(create_app(client, news, settings), news, settings).run([listener])
    return 0


@contextmanager
def _socket(address: str, port: int) -> Iterator[socket.socket]:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        listener = socket.create_server((address, port), family=family, backlog=2048)
    except OSError as error:
        why = (error.strerror or str(error)).partition(" (")[0]
        raise CannotListen(f"can't listen on {address}, port {port}: {why}; try another --port") from error
    with listener:
        # asyncio sets it only on sockets that say they are TCP's; an answer's second packet would wait 40 ms without.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield listener


class _Server(uvicorn.Server):
    """Uvicorn, which on a signal lets requests finish, ends streams, and returns; on a second one at once."""

    def __init__(self, app: object, news: News, settings: Settings) -> None:
        self._news = news
        super().__init__(
            uvicorn.Config(
                app,  # type: ignore[arg-type]
                log_config=None,
                access_log=settings.log_level in ("DEBUG", "INFO"),
                server_header=False,
                ws="none",
                timeout_graceful_shutdown=math.ceil(settings.grace_s),
            )
        )

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """As uvicorn's, but a stop that was asked for is no death by a signal."""
        before = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """A signal has come."""
        self.force_exit = self.should_exit
        self.should_exit = self._news.over = True
