"""`maskq serve`: the process of the gateway."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

import python_multipart  # noqa: F401  missed now, not at the first upload
import uvicorn
from fastapi import FastAPI
from rich.console import Console

from ..client.client import Client
from ..errors import MaskqError
from ..settings import Settings
from ..signals import handled
from .app import create_app
from .limits.idle_protocol import IdleTimeoutProtocol
from .subscriptions import Subscriptions

console = Console(highlight=False)


class CannotListen(MaskqError):
    """The address can't be listened on."""


def configured(app: FastAPI, settings: Settings) -> uvicorn.Config:
    """How uvicorn serves the app: over connections that end, and with requests that end before the grace is over, which
    whoever stops the process gives it for all it has to do.
    """
    return uvicorn.Config(
        app,
        http=IdleTimeoutProtocol,
        log_config=None,
        access_log=settings.log_level in ("DEBUG", "INFO"),
        server_header=False,
        ws="none",
        timeout_graceful_shutdown=0.8 * settings.grace_s,  # type: ignore[arg-type]  # it only waits so long
    )


class Server(uvicorn.Server):
    """Uvicorn, which on a signal lets requests finish, ends streams, and returns; on a second one at once."""

    def __init__(self, app: FastAPI, news: Subscriptions, settings: Settings) -> None:
        self._news = news
        #: How often the event loop has come round to it: about ten times a second, until it is to end.
        self.ticks = 0
        super().__init__(configured(app, settings))

    async def on_tick(self, counter: int) -> bool:
        """The event loop has come round."""
        self.ticks += 1
        return await super().on_tick(counter)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """As uvicorn's, but a stop that was asked for is no death by a signal."""
        with handled(self.handle_exit):
            yield

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """A signal has come."""
        self.force_exit = self.should_exit
        self.should_exit = self._news.over = True


def _say(url: str, _: Server) -> None:
    console.print(f"gateway: {url}/docs    Ctrl-C stops it")


def serve(address: str, port: int, listening: Callable[[str, Server], None] = _say, *, ask_first: bool = True) -> int:
    """Answer until SIGTERM or Ctrl-C; `listening` is told the URL, and of the server, before that begins.

    A broker that is away is `BrokerUnavailable` where it is to `ask_first`, else waited for: /readyz says so. Raises
    `CannotListen` and `InvalidJob` as well.
    """
    settings = Settings().with_broker()
    logging.basicConfig(level=settings.log_level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    client = Client(settings=settings)
    if ask_first:
        client.check()
    news = Subscriptions(settings.broker_url or "")
    server = Server(create_app(client, news, settings), news, settings)
    with _socket(address, port) as listener:
        host, taken, *_ = listener.getsockname()
        listening(f"http://{f'[{host}]' if ':' in host else host}:{taken}", server)
        server.run([listener])
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
