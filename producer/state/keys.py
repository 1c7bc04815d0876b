"""The Redis keys that more than one module uses; `ledger/KEYS.md` lists every key."""

from __future__ import annotations

from typing import TypeAlias

#: One Redis command: its name and its arguments.
Command: TypeAlias = "tuple[str | bytes | int, ...]"

#: The prefix of every key that maskq writes. (kombu's queues have the names of the queues.)
PREFIX = "maskq:"
#: A hash of the device processes: node name → JSON of its counters and of `time`, seconds since 1970 by Redis's clock.
DEVICES = f"{PREFIX}devices"
#: An entry of `DEVICES` older than this was left by a killed process (seconds).
STALE_S = 10.0
#: The channel on which kombu publishes Celery's `task-sent` events; format it with the number of the Redis database.
EVENTS = "/{}.celeryev/task.sent"
