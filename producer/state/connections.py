"""What a broker's address opens up: shared by the client and the workers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Self

from ..errors import BrokerUnavailable, InvalidJob
from ..settings import Settings
from .ledger import Ledger, Rules
from .store import PayloadStore, open_store

if TYPE_CHECKING:
    from redis import Redis


@contextmanager
def broker_there() -> Iterator[None]:
    """Within, a broker that is away or takes nothing is `BrokerUnavailable`."""
    from redis.exceptions import ConnectionError, ReadOnlyError, TimeoutError

    try:
        yield
    except (ConnectionError, TimeoutError, ReadOnlyError) as error:  # after some tries, with pauses
        raise BrokerUnavailable(f"the broker takes nothing now: {error}") from error


@dataclass(frozen=True)
class Connections:
    """To the broker's Redis, and what stands on it."""

    redis: Redis
    ledger: Ledger
    store: PayloadStore

    @classmethod
    def open(cls, settings: Settings) -> Self:
        """Connect lazily to `settings.broker_url`. Raises `InvalidJob` where there is none or it is no URL."""
        from redis import Redis
        from redis.backoff import ExponentialBackoff
        from redis.retry import Retry

        if not settings.broker_url:
            raise InvalidJob("no broker: set MASKQ_BROKER_URL (redis://host:6379/0), or start one with `maskq up`")
        try:
            redis = Redis.from_url(
                settings.broker_url,
                health_check_interval=30,
                max_connections=1 << 16,  # a thread that waits for a job keeps one
                socket_connect_timeout=10,
                socket_timeout=60,  # for all of a command: a large image takes its time on a slow line
                retry=Retry(ExponentialBackoff(cap=1, base=0.05), 8),  # a Redis that restarts; from_url has none itself
            )
        except ValueError as error:
            raise InvalidJob(f"MASKQ_BROKER_URL: {error}") from error
        ledger = Ledger(redis, **{rule.name: getattr(settings, rule.name) for rule in fields(Rules)})
        store = open_store(settings.store_url, redis, settings.retention_s)
        return cls(redis, ledger, store)

    def check(self) -> None:
        """Ask once. Raises `BrokerUnavailable` where nothing answers."""
        from redis.backoff import NoBackoff
        from redis.exceptions import RedisError
        from redis.retry import Retry

        once: Any = self.redis.connection_pool.make_connection()
        once.retry = Retry(NoBackoff(), 0)
        try:
            once.send_command("PING")
            once.read_response()
        except RedisError as error:
            raise BrokerUnavailable(f"the broker does not answer: {error}") from error
        finally:
            once.disconnect()

    def close(self) -> None:
        """Let go of the connections."""
        self.ledger.close()
        self.redis.close()
