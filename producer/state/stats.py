"""Statistics of a broker's queues and workers: the numbers of `maskq stats`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from pydantic import BaseModel, ConfigDict, TypeAdapter

from .keys import ACTIVE, CLUSTER_WORKERS, DEAD, DEVICES, LEASES, STALE_S, waiting_key
from .routing import CLUSTER_QUEUE, QUEUES

if TYPE_CHECKING:
    from redis import Redis


#: A job waits this long before missing workers are worth a word, seconds.
_UNSERVED_S = 3.0


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
    """Memory that Redis uses (bytes); 0 if this Redis user may not run INFO."""
    redis_max_bytes: int
    """Memory that Redis may use (bytes); 0 if it has no limit."""
    devices: dict[str, dict[str, Any]]
    """By node, the latest report of each device process that runs: its setting, batches, images, seconds on the device,
    and the number and seconds of its cudnn searches."""
    cluster_workers: dict[str, dict[str, Any]] = {}
    """By node, each CPU worker that runs: its number of `processes`."""

    @property
    def unserved(self) -> str | None:
        """What is missing and how to start it, if jobs have waited for seconds for workers that there are none of."""
        workers = {"device": self.devices, "cluster": self.cluster_workers}
        missing = [kind for kind, running in workers.items() if not running]
        waited_s = [q.oldest_s for name, q in self.queues.items() if _served_by(name) in missing and q.waiting]
        if max(waited_s, default=0.0) < _UNSERVED_S:
            return None
        waiting = sum(queue.waiting for queue in self.queues.values())
        seen = ", ".join(f"{kind} workers: {len(running)}" for kind, running in workers.items())
        commands = " and ".join(f"`maskq worker {kind}`" for kind in missing)
        return (
            f"no {' and no '.join(missing)} worker serves this broker ({seen}, jobs waiting: {waiting:,}); "
            f"start {'one' if len(missing) == 1 else 'them'} with {commands}"
        )


def collect(redis: Redis) -> Stats:
    """Read the statistics from Redis in one round trip."""
    pipe = redis.pipeline(transaction=False)
    for queue in QUEUES:
        pipe.zcard(waiting_key(queue))
        pipe.zrange(waiting_key(queue), 0, 0, withscores=True)
    pipe.time()
    for jobs in (LEASES, ACTIVE, DEAD):
        pipe.zcard(jobs)
    pipe.hgetall(DEVICES)
    pipe.hgetall(CLUSTER_WORKERS)
    pipe.info("memory")
    *answers, memory = pipe.execute(raise_on_error=False)
    for error in answers:
        if isinstance(error, Exception):
            raise error
    *waiting, (seconds, micros), working, unfinished, dead, devices, cluster_workers = answers
    now = seconds + micros / 1e6
    memory = _readable(memory)
    by_queue = zip(QUEUES, waiting[::2], waiting[1::2], strict=True)
    return Stats(
        queues={name: Queue(waiting=count, oldest_s=_age(oldest, now)) for name, count, oldest in by_queue},
        working=working,
        unfinished=unfinished,
        dead=dead,
        redis_bytes=memory.get("used_memory", 0),
        redis_max_bytes=memory.get("maxmemory", 0),
        devices=_recent(cast("dict[bytes, bytes]", devices), now),
        cluster_workers=_recent(cast("dict[bytes, bytes]", cluster_workers), now),
    )


def _served_by(queue: str) -> str:
    return "cluster" if queue == CLUSTER_QUEUE else "device"


def _readable(memory: Any) -> dict[str, int]:
    """The answer to INFO; empty if this Redis user may not ask for it."""
    from redis.exceptions import NoPermissionError

    if isinstance(memory, Exception) and not isinstance(memory, NoPermissionError):
        raise memory
    return {} if isinstance(memory, Exception) else cast("dict[str, int]", memory)


def _age(oldest: list[tuple[bytes, float]], now: float) -> float:
    return round(max(0.0, now - oldest[0][1]), 3) if oldest else 0.0


_ENTRIES = TypeAdapter(dict[str, Any])


def _recent(processes: dict[bytes, bytes], now: float) -> dict[str, dict[str, Any]]:
    """The entries of processes that run; those of killed processes are stale."""
    entries = {node.decode(): _ENTRIES.validate_json(text) for node, text in sorted(processes.items())}
    return {node: values for node, values in entries.items() if now - values["time"] < STALE_S}
