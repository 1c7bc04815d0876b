"""The connections that a broker's address opens; clients and workers share them."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Self

from ..errors import BrokerUnavailable, InvalidJob
from ..settings import ClientSettings
from .broker_errors import broker_errors, explain
from .broker_url import BrokerUrl
from .handshake import plain_handshake
from .ledger import Ledger, LedgerConfig
from .permissions import worker_uses
from .stats import collect
from .store import PayloadStore, open_store

if TYPE_CHECKING:
    from redis import Redis

log = logging.getLogger(__name__)

#: The first version that has all commands of the ledger's script (`COPY`).
OLDEST_REDIS = "6.2"


@dataclass(frozen=True)
class Connections:
    """The broker's Redis, the ledger on it and the payload store."""

    redis: Redis
    ledger: Ledger
    store: PayloadStore

    @classmethod
    def open(cls, settings: ClientSettings) -> Self:
        """Prepare lazy connections to `settings.broker_url`. Raises `InvalidJob` without a valid URL."""
        from redis import Redis
        from redis.backoff import ExponentialBackoff
        from redis.retry import Retry

        if not settings.broker_url:
            raise InvalidJob("no broker: set MASKQ_BROKER_URL (redis://host:6379/0), or start one with `maskq up`")
        redis = Redis.from_url(
            BrokerUrl.parse(settings.broker_url).for_redis,
            health_check_interval=30,
            max_connections=1 << 16,  # each thread that waits for a job keeps one
            socket_connect_timeout=10,
            socket_timeout=60,  # for a whole command: a large image takes its time on a slow line
            retry=Retry(ExponentialBackoff(cap=1, base=0.05), 8),  # Redis may restart; from_url has no retries
            **plain_handshake(),
        )
        store = open_store(settings.store_url, redis, settings.retention_s)
        config = {name.name: getattr(settings, name.name) for name in fields(LedgerConfig)}
        return cls(redis, Ledger(redis, store, **config), store)

    def check(self) -> None:
        """Ask the broker once. Raises `BrokerUnavailable` if it does not answer, is too old, or may evict data.

        A Redis that evicts loses accepted jobs. If this user may not read the policy, that is logged.
        """
        from redis.backoff import NoBackoff
        from redis.exceptions import NoPermissionError, RedisError
        from redis.retry import Retry

        connection: Any = self.redis.connection_pool.make_connection()
        connection.retry = Retry(NoBackoff(), 0)
        try:
            connection.send_command("PING")
            connection.read_response()
            connection.send_command("INFO")
            info = _parse(connection.read_response().decode())
            _check_version(info)
            _check_eviction(info)
        except NoPermissionError:
            log.warning("this Redis user may not run INFO: make sure that maxmemory-policy is noeviction")
        except RedisError as error:
            raise explain(error) or BrokerUnavailable(f"the broker does not answer: {error}") from error
        finally:
            connection.disconnect()

    @broker_errors()
    def check_worker(self) -> None:
        """As `check`, and raises `BrokerUnavailable` if this Redis user may not do all that a worker does."""
        self.check()
        database = self.redis.connection_pool.connection_kwargs.get("db", 0)
        self.ledger.check_permissions(worker_uses(database))

    def unserved(self) -> str | None:
        """`Stats.unserved`, to complete an error message; None if Redis does not answer."""
        from redis.exceptions import RedisError

        try:
            return collect(self.redis).unserved
        except RedisError:
            return None

    def close(self) -> None:
        """Close the connections."""
        self.ledger.close()
        self.redis.close()


def _parse(info: str) -> dict[str, str]:
    """The lines of Redis's answer to `INFO`."""
    return dict(line.split(":", 1) for line in info.splitlines() if ":" in line)


def _check_version(info: Mapping[str, str]) -> None:
    """Raises `BrokerUnavailable` if Redis is too old. Valkey gives the version of Redis that it is compatible with."""
    version = info.get("redis_version", "")
    if version and is_too_old(version):
        raise BrokerUnavailable(f"this is Redis {version}; maskq needs Redis {OLDEST_REDIS} or newer, or Valkey")


def is_too_old(version: str) -> bool:
    """Whether a Redis of this version, such as `7.0.15`, lacks what maskq needs."""
    return [int(part) for part in version.split(".")[:2]] < [int(part) for part in OLDEST_REDIS.split(".")]


def _check_eviction(info: Mapping[str, str]) -> None:
    """Raises `BrokerUnavailable` if Redis deletes keys when its memory is full."""
    policy, limit = info.get("maxmemory_policy", "noeviction"), int(info.get("maxmemory", 0))
    if policy != "noeviction" and limit:
        raise BrokerUnavailable(
            f"this Redis deletes data when it is full (maxmemory-policy {policy}), and so loses accepted jobs: set "
            f"maxmemory-policy noeviction"
        )
    if policy != "noeviction":
        log.warning("Redis would delete jobs if maxmemory were set: set maxmemory-policy noeviction, not %s", policy)
