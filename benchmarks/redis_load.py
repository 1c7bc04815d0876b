"""What a Redis did between two looks, from the counters of its INFO: the load of a job, and of a second without any."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

from redis import Redis


@dataclass(frozen=True)
class RedisLoad:
    """Counters that only grow, or the difference between two looks at them."""

    #: Those that scripts call among them.
    commands: float
    #: Times that something was read off a connection: a pipeline counts once.
    requests: float
    bytes_in: float
    bytes_out: float
    #: Seconds of the server's threads, user and system together.
    cpu_s: float

    @classmethod
    def look(cls, redis: Redis) -> Self:
        """The counters now."""
        told: Any = redis.info()
        return cls(
            told["total_commands_processed"],
            told["total_reads_processed"],
            told["total_net_input_bytes"],
            told["total_net_output_bytes"],
            told["used_cpu_user"] + told["used_cpu_sys"],
        )

    def __sub__(self, before: RedisLoad) -> RedisLoad:
        return RedisLoad(
            self.commands - before.commands,
            self.requests - before.requests,
            self.bytes_in - before.bytes_in,
            self.bytes_out - before.bytes_out,
            self.cpu_s - before.cpu_s,
        )

    def over(self, count: float) -> dict[str, float]:
        """The load of one of `count` jobs (or seconds), as the fields of a case."""
        return {
            "commands": round(self.commands / count, 1),
            "requests": round(self.requests / count, 1),
            "kB_in": round(self.bytes_in / count / 1000, 2),
            "kB_out": round(self.bytes_out / count / 1000, 2),
            "redis_cpu_ms": round(1000 * self.cpu_s / count, 3),
        }
