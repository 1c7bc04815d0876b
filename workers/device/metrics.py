"""Counts what a device process does, and publishes the counters for `maskq stats` and Flower."""

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

_INTERVAL_S = 2.0
#: The hash of all devices expires after the last update, seconds.
_EXPIRE_S = 3600

Entries: TypeAlias = Mapping[str, str | int | float]


class Counters:
    """Batches, images and seconds of one device since its process began. Threads may share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._batches = self._images = self._halvings = self._in_hand = 0
        self._seconds = 0.0

    def add_batch(self, images: int, seconds: float) -> None:
        """Count a batch that ran."""
        with self._lock:
            self._batches += 1
            self._images += images
            self._seconds += seconds

    def add_halving(self) -> None:
        """Count a batch that was too large for the device's memory and ran in halves."""
        with self._lock:
            self._halvings += 1

    def job_started(self) -> None:
        """Count a job as in hand."""
        with self._lock:
            self._in_hand += 1

    def job_ended(self) -> None:
        """Count a job as in hand no more, whether it succeeded or failed."""
        with self._lock:
            self._in_hand -= 1

    def in_hand(self) -> int:
        """Return the number of jobs that started and have not ended."""
        return self._in_hand

    def entries(self) -> Entries:
        """Return all counters by name."""
        with self._lock:
            return {
                "in_hand": self._in_hand,
                "batches": self._batches,
                "images": self._images,
                "mean_batch": round(self._images / self._batches, 2) if self._batches else 0.0,
                "device_s": round(self._seconds, 3),
                "memory_halvings": self._halvings,
            }


class Publisher(PeriodicThread):
    """Writes a process's entries to the hash `DEVICES` every two seconds, from `start` to `stop`."""

    def __init__(self, redis: Redis, node: str, entries: Callable[[], Entries]) -> None:
        super().__init__(_INTERVAL_S, self.publish, "counters")
        self._redis, self._node, self._entries = redis, node, entries

    def stop(self) -> None:
        """Stop publishing and remove the published entries."""
        super().stop()
        try:
            self._redis.hdel(DEVICES, self._node)
        except RedisError as error:  # then the entries become stale
            log.debug("counters: %s", error)

    def publish(self) -> None:
        """Publish the entries once, with Redis's time."""
        now = self._redis.time()[0]
        pipe = self._redis.pipeline(transaction=False)
        pipe.hset(DEVICES, self._node, json.dumps({**self._entries(), "time": now}))
        pipe.expire(DEVICES, _EXPIRE_S)
        pipe.execute()
