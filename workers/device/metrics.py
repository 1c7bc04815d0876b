"""What a device process has done, counted; and published, so that `maskq stats` and Flower can show it."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Mapping
from typing import TypeAlias

from redis import Redis
from redis.exceptions import RedisError

from maskq.producer.state.keys import DEVICES
from maskq.tasks.periodic import PeriodicThread

log = logging.getLogger(__name__)

EVERY_S = 2.0
#: Seconds that the hash outlives the last process.
_KEPT_S = 3600

Entries: TypeAlias = Mapping[str, str | int | float]


class Counters:
    """Batches, images and seconds of one device, since its process began. Threads may share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._batches = self._images = self._halvings = self._in_hand = 0
        self._seconds = 0.0

    def ran(self, images: int, seconds: float) -> None:
        """A batch has run."""
        with self._lock:
            self._batches += 1
            self._images += images
            self._seconds += seconds

    def halved(self) -> None:
        """A batch was too large for the device's memory, and was run in halves."""
        with self._lock:
            self._halvings += 1

    def taken(self) -> None:
        """A job was begun."""
        with self._lock:
            self._in_hand += 1

    def left(self) -> None:
        """A job that was begun has ended, well or not."""
        with self._lock:
            self._in_hand -= 1

    def in_hand(self) -> int:
        """Jobs that were begun and have not ended."""
        return self._in_hand

    def entries(self) -> Entries:
        """All of it, by name."""
        with self._lock:
            return {
                "in_hand": self._in_hand,
                "batches": self._batches,
                "images": self._images,
                "mean_batch": round(self._images / self._batches, 2) if self._batches else 0.0,
                "device_s": round(self._seconds, 3),
                "memory_halvings": self._halvings,
            }


class Publisher:
    """Writes a process's entries to `DEVICES` every two seconds, from `start` to `stop`."""

    def __init__(self, redis: Redis, node: str, entries: Callable[[], Entries]) -> None:
        self._redis, self._node, self._entries = redis, node, entries
        self._every = PeriodicThread(EVERY_S, self.publish, "counters")

    def start(self) -> None:
        """Publish from now on, in a thread."""
        self._every.start()

    def stop(self) -> None:
        """Publish no more, and take away what was published."""
        self._every.stop()
        try:
            self._redis.hdel(DEVICES, self._node)
        except RedisError as error:  # then it grows stale
            log.debug("counters: %s", error)

    def publish(self) -> None:
        """Once, now."""
        now = self._redis.time()[0]
        pipe = self._redis.pipeline(transaction=False)
        pipe.hset(DEVICES, self._node, json.dumps({**self._entries(), "time": now}))
        pipe.expire(DEVICES, _KEPT_S)
        pipe.execute()
