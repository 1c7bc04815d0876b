"""News of jobs: who waits for one is woken when it changes, and no thread waits with them."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

from redis.asyncio import Redis
from redis.asyncio.client import PubSub

from ..state.connections import broker_there
from ..state.ledger import channel
from .errors import GatewayBusy

#: News can be missed while a connection is made anew: a job is looked at this often all the same, seconds.
LOOK_S = 5.0
#: How long Redis may take to confirm that someone listens, seconds.
_CONFIRM_S = 10.0
#: How soon those who wait notice that the server is about to end, seconds.
_NOTICE_S = 1.0


class Subscriptions:
    """The ledger's published news of jobs, for `most` listeners at once, each on a connection of its own."""

    def __init__(self, broker_url: str, most: int = 256) -> None:
        self._redis = Redis.from_url(
            broker_url, max_connections=most, socket_connect_timeout=10, health_check_interval=30
        )
        self._most = most
        #: How many listen now.
        self.listeners = 0
        #: Set where the server is about to end: then nobody waits any longer.
        self.over = False

    async def close(self) -> None:
        """Let go of the connections."""
        await self._redis.aclose()

    @asynccontextmanager
    async def of(self, job_id: str, seconds: float) -> AsyncIterator[AsyncGenerator[None, None]]:
        """Moments at which the job may have changed, for so many seconds: the first is now, and each comes at most
        `LOOK_S` after the one before.

        Raises `GatewayBusy` where too many listen, and `BrokerUnavailable`.
        """
        if self.listeners >= self._most:
            raise GatewayBusy(f"{self.listeners} requests wait for jobs, as many as may; try again later")
        self.listeners += 1
        try:
            async with self._redis.pubsub(ignore_subscribe_messages=True) as news:
                with broker_there():
                    await news.subscribe(channel(job_id))
                    await news.get_message(timeout=_CONFIRM_S)  # that it is so: what happens from then on is heard
                yield self._moments(news, time.monotonic() + seconds)
        finally:
            self.listeners -= 1

    async def _moments(self, news: PubSub, deadline: float) -> AsyncGenerator[None, None]:
        yield
        looked = time.monotonic()
        while not self.over and (now := time.monotonic()) < deadline:
            with broker_there():
                message = await news.get_message(timeout=min(_NOTICE_S, deadline - now))
            if message or time.monotonic() >= min(looked + LOOK_S, deadline):
                looked = time.monotonic()
                yield
