"""Publishes what a worker process says of itself, for `maskq stats` and for clients that wait."""

import json
import logging
from collections.abc import Callable, Mapping
from typing import TypeAlias

from redis import Redis
from redis.exceptions import RedisError

from maskq.tasks.periodic import PeriodicThread

log = logging.getLogger(__name__)

_INTERVAL_S = 2.0
#: The hash of all processes expires after the last update, seconds.
_EXPIRE_S = 3600

Entries: TypeAlias = Mapping[str, str | int | float]


class Publisher(PeriodicThread):
    """Writes a process's entries to a hash of Redis every two seconds, from `start` to `stop`."""

    def __init__(self, redis: Redis, key: str, node: str, entries: Callable[[], Entries]) -> None:
        """`key` is the hash, `DEVICES` or `CLUSTER_WORKERS`; `node` is the process's field in it."""
        super().__init__(_INTERVAL_S, self.publish, "counters")
        self._redis, self._key, self._node, self._entries = redis, key, node, entries

    def stop(self) -> None:
        """Stop publishing and remove the published entries."""
        super().stop()
        try:
            self._redis.hdel(self._key, self._node)
        except RedisError as error:  # then the entries become stale
            log.debug("counters: %s", error)

    def publish(self) -> None:
        """Publish the entries once, with Redis's time."""
        now = self._redis.time()[0]
        pipe = self._redis.pipeline(transaction=False)
        pipe.hset(self._key, self._node, json.dumps({**self._entries(), "time": now}))
        pipe.expire(self._key, _EXPIRE_S)
        pipe.execute()
