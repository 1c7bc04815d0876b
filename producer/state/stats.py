"""What a broker's queues and workers are doing: the numbers behind `maskq stats`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from pydantic import BaseModel, ConfigDict, TypeAdapter

from .keys import DEVICES, PREFIX, STALE_S
from .ledger import ACTIVE, DEAD, LEASES
from .routing import CLUSTER_QUEUE, EMBED_QUEUES

if TYPE_CHECKING:
    from redis import Redis


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)


class Queue(_Frozen):
    """Jobs that wait for one queue's workers."""

    waiting: int
    """Jobs that no worker has begun."""
    oldest_s: float
    """Seconds that the oldest of them has waited; 0 where there is none."""


class Stats(_Frozen):
    """A broker's state at one moment."""

    queues: dict[str, Queue]
    """By name: `embed.fixed`, `embed.varied`, `cluster`."""
    working: int
    """Jobs that a worker holds a lease on."""
    unfinished: int
    """Jobs that have not ended: those waiting and those worked on."""
    dead: int
    """Dead letters."""
    redis_bytes: int
    """Memory that Redis uses."""
    redis_max_bytes: int
    """Memory that Redis may use; 0 where it has no bound."""
    devices: dict[str, dict[str, Any]]
    """By node, what each device process last said of itself, within the last seconds: its setting, batches, images,
    seconds on the device, and how often and how long cudnn has searched."""


def collect(redis: Redis) -> Stats:
    """Ask Redis, in one round trip."""
    pipe = redis.pipeline(transaction=False)
    queues = (*EMBED_QUEUES, CLUSTER_QUEUE)
    for queue in queues:
        pipe.zcard(f"{PREFIX}waits:{queue}")
        pipe.zrange(f"{PREFIX}waits:{queue}", 0, 0, withscores=True)
    pipe.time()
    for jobs in (LEASES, ACTIVE, DEAD):
        pipe.zcard(jobs)
    pipe.info("memory")
    pipe.hgetall(DEVICES)
    *waiting, (seconds, micros), working, unfinished, dead, memory, devices = pipe.execute()
    now = seconds + micros / 1e6
    counted = zip(queues, waiting[::2], waiting[1::2], strict=True)
    return Stats(
        queues={name: Queue(waiting=count, oldest_s=_age(first, now)) for name, count, first in counted},
        working=working,
        unfinished=unfinished,
        dead=dead,
        redis_bytes=memory["used_memory"],
        redis_max_bytes=memory["maxmemory"],
        devices=_alive(cast("dict[bytes, bytes]", devices), now),
    )


def _age(first: list[tuple[bytes, float]], now: float) -> float:
    return round(max(0.0, now - first[0][1]), 3) if first else 0.0


_SAID = TypeAdapter(dict[str, Any])


def _alive(devices: dict[bytes, bytes], now: float) -> dict[str, dict[str, Any]]:
    """What was said lately; what a killed process has left is passed over."""
    said = {node.decode(): _SAID.validate_json(entries) for node, entries in sorted(devices.items())}
    return {node: entries for node, entries in said.items() if now - entries["time"] < STALE_S}
