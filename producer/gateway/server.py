"""The gateway's process, `maskq serve`."""

import logging
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

import python_multipart  # noqa: F401  fail at start, not at the first upload
import uvicorn
from fastapi import FastAPI
from rich.console import Console

from ..client.client import Client
from ..errors import MaskqError
from ..printable import make_printable
from ..settings import Settings
from ..signals import override_stop_signals
from .app import create_app
from .limits.idle_protocol import IdleTimeoutProtocol
from .proxies import BehindProxies
from .subscriptions import Subscriptions

console = Console(highlight=False)


class CannotListen(MaskqError):
    """The address can't be listened on."""


def uvicorn_config(app: FastAPI, settings: Settings) -> uvicorn.Config:
    """Uvicorn's configuration: idle timeout, and a graceful shutdown within `grace_s`, before the process is killed."""
    return uvicorn.Config(
        BehindProxies(app, settings.trusted_proxies),
        proxy_headers=False,
        http=IdleTimeoutProtocol,
        log_config=None,
        access_log=settings.log_level in ("DEBUG", "INFO"),
        server_header=False,
        ws="none",
        timeout_graceful_shutdown=0.8 * settings.grace_s,  # type: ignore[arg-type]  # uvicorn only uses it as a timeout
    )


class Server(uvicorn.Server):
    """Uvicorn with a graceful shutdown at a signal: requests finish, event streams end. A second signal stops it."""

    def __init__(self, app: FastAPI, subscriptions: Subscriptions, settings: Settings) -> None:
        self._subscriptions = subscriptions
        #: Turns of the event loop, about ten per second until the shutdown.
        self.ticks = 0
        super().__init__(uvicorn_config(app, settings))

    async def on_tick(self, counter: int) -> bool:
        """Called at each turn of the event loop."""
        self.ticks += 1
        return await super().on_tick(counter)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handle signals without uvicorn's re-raise at the end, which would make a requested stop a death by signal."""
        with override_stop_signals(self.handle_exit):
            yield

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Signal handler."""
        self.force_exit = self.should_exit
        self.should_exit = self._subscriptions.shutting_down = True


def _print_url(url: str, _: Server) -> None:
    console.print(f"gateway: {url}/docs    Ctrl-C stops it")


def serve(
    address: str, port: int, on_listening: Callable[[str, Server], None] = _print_url, *, check_broker: bool = True
) -> int:
    """Run the gateway until SIGTERM or Ctrl-C. Calls `on_listening` with the URL and the server before it starts.

    Raises `CannotListen`, `InvalidJob` without a broker's URL and, if `check_broker`, `BrokerUnavailable`; without the
    check the gateway starts anyway and /readyz reports the broker's state.
    """
    settings = Settings().with_broker()
    logging.basicConfig(level=settings.log_level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    make_printable(logging.getLogger())
    client = Client(settings=settings)
    if check_broker:
        client.check()
    subscriptions = Subscriptions(settings.broker_url or "", settings.max_client_listeners)
    server = Server(create_app(client, subscriptions, settings), subscriptions, settings)
    with _listening_socket(address, port) as listener:
        host, bound_port, *_ = listener.getsockname()
        on_listening(f"http://{f'[{host}]' if ':' in host else host}:{bound_port}", server)
        server.run([listener])
    return 0


@contextmanager
def _listening_socket(address: str, port: int) -> Iterator[socket.socket]:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        listener = socket.create_server((address, port), family=family, backlog=2048)
    except OSError as error:
        reason = (error.strerror or str(error)).partition(" (")[0]
        raise CannotListen(f"can't listen on {address}, port {port}: {reason}; try another --port") from error
    with listener:
        # asyncio sets it only on sockets created with protocol TCP; without it a second packet waits 40 ms.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield listener
