"""The state that all routes share, as a FastAPI dependency."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, TypeVar

from anyio import CapacityLimiter
from fastapi import Depends, Request
from fastapi.concurrency import run_in_threadpool

from ..client.client import Client
from ..state.connections import broker_errors
from .limits.downloads import Downloads
from .limits.uploads import Uploads
from .subscriptions import Subscriptions

T = TypeVar("T")


@dataclass(frozen=True)
class Gateway:
    """The client of the broker, the subscriptions and the limits of one gateway."""

    client: Client
    subscriptions: Subscriptions
    uploads: Uploads
    downloads: Downloads
    #: Threads for readiness checks only: the routes' threads may all be waiting for the broker.
    check_threads: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(4))

    async def in_thread(self, call: Callable[[], T]) -> T:
        """Run a blocking call of the client in a thread and return its result. Raises `BrokerUnavailable`."""

        def guarded_call() -> T:
            with broker_errors():
                return call()

        return await run_in_threadpool(guarded_call)


def _gateway(request: Request) -> Gateway:
    gateway: Gateway = request.app.state.gateway
    return gateway


#: Type of a route's parameter that receives the gateway.
GatewayDep = Annotated[Gateway, Depends(_gateway)]
