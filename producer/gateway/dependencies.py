"""What every route works with: the client, and the way to its answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, TypeVar

from anyio import CapacityLimiter
from fastapi import Depends, Request
from fastapi.concurrency import run_in_threadpool

from ..client.client import Client
from ..state.connections import broker_there
from .limits.downloads import Results
from .limits.uploads import Uploads
from .subscriptions import Subscriptions

T = TypeVar("T")


@dataclass(frozen=True)
class Gateway:
    """One gateway's client of the broker, and what is open towards it."""

    client: Client
    news: Subscriptions
    uploads: Uploads
    results: Results
    #: Threads of its own for the question whether the broker is there: those of the routes may all be waiting for it.
    checks: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(4))

    async def ask(self, question: Callable[[], T]) -> T:
        """What `question` returns, asked from a thread: the client waits. Raises `BrokerUnavailable`."""

        def asked() -> T:
            with broker_there():
                return question()

        return await run_in_threadpool(asked)


def _of_app(request: Request) -> Gateway:
    gateway: Gateway = request.app.state.gateway
    return gateway


#: A route's parameter.
TheGateway = Annotated[Gateway, Depends(_of_app)]
