"""The names of Redis keys and channels. `ledger/KEYS.md` describes each: its type, its writers, its end."""

from typing import TypeAlias

#: One Redis command: its name and its arguments.
Command: TypeAlias = "tuple[str | bytes | int, ...]"

#: The prefix of every key that maskq writes. (kombu's queues have the names of the queues.)
PREFIX = "maskq:"
#: Sorted sets of job ids. Their scores are times, seconds since 1970 by Redis's clock.
ACTIVE, LEASES, DELAYED, EXPIRING, STACKS, FOLLOWING, DEAD, KEPT = (
    f"{PREFIX}{name}" for name in ("active", "leases", "delayed", "expiring", "stacks", "following", "dead", "kept")
)
#: The channel of cancelled jobs' ids.
CANCELLED = f"{PREFIX}cancelled"
#: A stream, the outbox of ended jobs: `job_id` and `state`.
ENDINGS = f"{PREFIX}endings"
#: The number of ends that the outbox holds, about: beyond it, if no worker dispatches them, the oldest are dropped.
MAX_ENDINGS = 100_000
#: Strings: the locks under which one process at a time reconciles, and dispatches the outbox.
RECONCILER_LOCK, DISPATCHER_LOCK = f"{PREFIX}reconciler", f"{PREFIX}dispatcher"
#: A hash of the device processes: node name → JSON of its counters and of `time`, seconds since 1970 by Redis's clock.
DEVICES = f"{PREFIX}devices"
#: A hash of the CPU workers, as `DEVICES`: its JSON has the number of `processes`.
CLUSTER_WORKERS = f"{PREFIX}cluster-workers"
#: A string that exists while a device process serves one lane only, and for a time after that.
LANES_APART = f"{PREFIX}lanes-apart"
#: An entry of `DEVICES` or `CLUSTER_WORKERS` older than this was left by a killed process (seconds).
STALE_S = 10.0
#: The channel on which kombu publishes Celery's `task-sent` events; format it with the number of the Redis database.
EVENTS = "/{}.celeryev/task.sent"


def job_key(job_id: str) -> str:
    """The hash of a job, and the channel on which each state that it enters is published."""
    return f"{PREFIX}job:{job_id}"


def plane_id(job_id: str, number: int) -> str:
    """The id of the job that segments one plane of a stack; planes count from 1. `stacks.lua` has the same."""
    return f"{job_id}-{number:05d}"


def stack_id(job_id: str) -> str:
    """The id of the stack's job if this is the id of one of its planes; otherwise the same id."""
    return job_id.partition("-")[0]


def payload_key(job_id: str, kind: str) -> str:
    """The string (or, for large payloads, the hash of pieces) of one payload of a job."""
    return f"{PREFIX}payload:{job_id}:{kind}"


def waiting_key(queue: str) -> str:
    """The sorted set of the jobs that wait for a queue's workers, by the time since when."""
    return f"{PREFIX}waits:{queue}"


def ended_key(bucket: int) -> str:
    """The number of jobs that ended in one span of ten seconds."""
    return f"{PREFIX}ended:{bucket}"
