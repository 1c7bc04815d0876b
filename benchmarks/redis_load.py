"""What a Redis server did in a period, from the counters of its INFO: per job, or per second if idle."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

from redis import Redis


@dataclass(frozen=True)
class RedisLoad:
    """Counters that only grow, or the difference between two readings."""

    #: Including those that scripts call.
    commands: float
    #: Reads from a connection: a pipeline counts once.
    requests: float
    bytes_in: float
    bytes_out: float
    #: Time of the server's threads, user and system together, seconds.
    cpu_s: float

    @classmethod
    def read(cls, redis: Redis) -> Self:
        """Read the counters."""
        info: Any = redis.info()
        return cls(
            info["total_commands_processed"],
            info["total_reads_processed"],
            info["total_net_input_bytes"],
            info["total_net_output_bytes"],
            info["used_cpu_user"] + info["used_cpu_sys"],
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
        """Return the load per job (or second) of `count`, as the fields of a case."""
        return {
            "commands": round(self.commands / count, 1),
            "requests": round(self.requests / count, 1),
            "kB_in": round(self.bytes_in / count / 1000, 2),
            "kB_out": round(self.bytes_out / count / 1000, 2),
            "redis_cpu_ms": round(1000 * self.cpu_s / count, 3),
        }
