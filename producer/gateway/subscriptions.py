"""Subscriptions to job events over Redis pub/sub: a request that waits for a job occupies no thread."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

from redis.asyncio import Redis
from redis.asyncio.client import PubSub

from ..errors import BrokerUnavailable
from ..state.broker_errors import broker_errors
from ..state.broker_url import BrokerUrl
from ..state.handshake import plain_handshake
from ..state.keys import job_key
from ..state.ledger.waiting import ANSWER_S, wait_steps
from .limits.shares import Shares

#: How soon subscriptions notice a shutdown, seconds.
_SHUTDOWN_POLL_S = 1.0


#: How many subscriptions there may be at once.
MAX_LISTENERS = 256


class Subscriptions:
    """Subscriptions to the ledger's job events, each with its own Redis connection."""

    def __init__(self, broker_url: str, sender_limit: int, limit: int = MAX_LISTENERS) -> None:
        """At most `limit` at once, of which one sender may have `sender_limit`."""
        self._redis = Redis.from_url(
            BrokerUrl.parse(broker_url).for_redis,
            max_connections=limit,
            socket_connect_timeout=10,
            health_check_interval=30,
            **plain_handshake(),
        )
        #: Open subscriptions, by sender.
        self.open = Shares(limit, sender_limit, "requests wait for jobs", "MASKQ_MAX_CLIENT_LISTENERS")
        #: Set at shutdown: all subscriptions end.
        self.shutting_down = False

    async def close(self) -> None:
        """Close the connections."""
        await self._redis.aclose()

    @asynccontextmanager
    async def subscribe(self, job_id: str, seconds: float, sender: str) -> AsyncIterator[AsyncGenerator[None, None]]:
        """Subscribe to a job for `seconds`. The iterator yields whenever the job may have changed: first at once, then
        at each event and from time to time (`ledger.waiting`).

        Raises `GatewayBusy` at the limit, and `BrokerUnavailable`.
        """
        self.open.take(sender, 1)
        try:
            async with self._redis.pubsub() as pubsub:
                with broker_errors():
                    await pubsub.subscribe(job_key(job_id))
                    confirmation = await pubsub.get_message(timeout=ANSWER_S)
                if confirmation is None:  # without it, an event could be missed
                    raise BrokerUnavailable(f"Redis has not confirmed a subscription for {ANSWER_S:g} s")
                yield self._changes(pubsub, seconds)
        finally:
            self.open.give(sender, 1)

    async def _changes(self, pubsub: PubSub, seconds: float) -> AsyncGenerator[None, None]:
        steps = wait_steps(seconds)
        step = next(steps)
        while step is None or not self.shutting_down:  # the first step reads the record even at shutdown
            try:
                if step is None:
                    yield
                    step = next(steps)
                else:
                    with broker_errors():
                        message = await pubsub.get_message(timeout=min(_SHUTDOWN_POLL_S, step))
                    step = steps.send(message is not None)
            except StopIteration:
                return
