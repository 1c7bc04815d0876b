"""What a broker's queues and workers are doing: the numbers behind `maskq stats`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from pydantic import BaseModel, ConfigDict, TypeAdapter

from .broker import CLUSTER_QUEUE, DEVICES, EMBED_QUEUES, PREFIX, STALE_S
from .ledger import ACTIVE, DEAD, LEASES

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


#: A metric's name, what it means, and its values by their labels.
_Metric: TypeAlias = tuple[str, str, dict[str, float]]


def exposition(stats: Stats) -> str:
    """The same in Prometheus' text format, such as node_exporter's textfile collector takes."""
    lines: list[str] = []
    metrics: list[_Metric] = [
        ("maskq_jobs_waiting", "Jobs that no worker has begun.", _by_queue(stats, "waiting")),
        ("maskq_oldest_waiting_seconds", "Age of the oldest of them.", _by_queue(stats, "oldest_s")),
        ("maskq_jobs_working", "Jobs that a worker has begun.", {"": stats.working}),
        ("maskq_jobs_unfinished", "Jobs that have not ended.", {"": stats.unfinished}),
        ("maskq_jobs_dead", "Dead letters.", {"": stats.dead}),
        ("maskq_redis_bytes", "Memory that Redis uses.", {"": stats.redis_bytes}),
    ]
    for name, help_, values in metrics + _device_settings(stats) + _device_metrics(stats):
        lines += [f"# HELP {name} {help_}", f"# TYPE {name} gauge"]
        lines += [f"{name}{labels} {value:g}" for labels, value in values.items()]
    return "\n".join(lines) + "\n"


def _by_queue(stats: Stats, what: str) -> dict[str, float]:
    return {f"{{queue={json.dumps(name)}}}": getattr(queue, what) for name, queue in stats.queues.items()}


def _device_metrics(stats: Stats) -> list[_Metric]:
    """One metric for every number that devices tell of themselves."""
    names = {name for said in stats.devices.values() for name, value in said.items() if _counts(name, value)}
    return [
        (
            f"maskq_device_{name}",
            f"What a device process says of itself: {name.replace('_', ' ')}.",
            {f"{{node={json.dumps(node)}}}": said[name] for node, said in stats.devices.items() if name in said},
        )
        for name in sorted(names)
    ]


def _device_settings(stats: Stats) -> list[_Metric]:
    """What devices say of themselves in words, cudnn's setting among it, as the labels of a metric that is always 1."""
    values: dict[str, float] = {}
    for node, said in stats.devices.items():
        words = {"node": node} | {name: value for name, value in said.items() if isinstance(value, str)}
        values["{" + ",".join(f"{name}={json.dumps(word)}" for name, word in words.items()) + "}"] = 1
    return [("maskq_device_info", "How a device process is set.", values)] if values else []


def _counts(name: str, value: object) -> bool:
    return name != "time" and isinstance(value, int | float)
