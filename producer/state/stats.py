"""Statistics of a broker's queues and workers: the numbers of `maskq stats`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from pydantic import BaseModel, ConfigDict, TypeAdapter

from .keys import ACTIVE, DEAD, DEVICES, LEASES, STALE_S, waiting_key
from .routing import QUEUES

if TYPE_CHECKING:
    from redis import Redis


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)


class Queue(_Frozen):
    """The jobs that wait for one queue's workers."""

    waiting: int
    """The number of jobs that no worker has started."""
    oldest_s: float
    """Seconds that the oldest of them has waited; 0 if none waits."""


class Stats(_Frozen):
    """A broker's state at one moment."""

    queues: dict[str, Queue]
    """By name: `embed.fixed`, `embed.varied`, `cluster`."""
    working: int
    """Jobs that a worker holds a lease on."""
    unfinished: int
    """Jobs that have not ended, waiting or in work."""
    dead: int
    """Dead letters."""
    redis_bytes: int
    """Memory that Redis uses (bytes)."""
    redis_max_bytes: int
    """Memory that Redis may use (bytes); 0 if it has no limit."""
    devices: dict[str, dict[str, Any]]
    """By node, the latest report of each device process that runs: its setting, batches, images, seconds on the device,
    and the number and seconds of its cudnn searches."""


def collect(redis: Redis) -> Stats:
    """Read the statistics from Redis in one round trip."""
    pipe = redis.pipeline(transaction=False)
    for queue in QUEUES:
        pipe.zcard(waiting_key(queue))
        pipe.zrange(waiting_key(queue), 0, 0, withscores=True)
    pipe.time()
    for jobs in (LEASES, ACTIVE, DEAD):
        pipe.zcard(jobs)
    pipe.info("memory")
    pipe.hgetall(DEVICES)
    *waiting, (seconds, micros), working, unfinished, dead, memory, devices = pipe.execute()
    now = seconds + micros / 1e6
    by_queue = zip(QUEUES, waiting[::2], waiting[1::2], strict=True)
    return Stats(
        queues={name: Queue(waiting=count, oldest_s=_age(oldest, now)) for name, count, oldest in by_queue},
        working=working,
        unfinished=unfinished,
        dead=dead,
        redis_bytes=memory["used_memory"],
        redis_max_bytes=memory["maxmemory"],
        devices=_recent(cast("dict[bytes, bytes]", devices), now),
    )


def _age(oldest: list[tuple[bytes, float]], now: float) -> float:
    return round(max(0.0, now - oldest[0][1]), 3) if oldest else 0.0


_ENTRIES = TypeAdapter(dict[str, Any])


def _recent(devices: dict[bytes, bytes], now: float) -> dict[str, dict[str, Any]]:
    """The entries of device processes that run; those of killed processes are stale."""
    entries = {node.decode(): _ENTRIES.validate_json(text) for node, text in sorted(devices.items())}
    return {node: values for node, values in entries.items() if now - values["time"] < STALE_S}
