"""The ledger: each job's state in a Redis hash, moved by atomic transitions. It is the truth; messages only wake.

A worker *claims* a stage and holds it by a lease that it renews; finishing, failing or releasing it asks for the same
owner. So a second delivery of a message finds the stage claimed or finished and is dropped, and a job whose worker
died comes back when the lease runs out. The transitions are in `ledger.lua`; one that leaves a job waiting puts its
message on the queue as well, so that no crash comes between the two.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from importlib.resources import files
from typing import TYPE_CHECKING, Any, cast

from .broker import EVENTS, PREFIX, broker_priority, message_lists
from .contract import Failure, JobSpec, JobStatus, Stage, State
from .errors import QueueFull, UnknownJob

if TYPE_CHECKING:
    from redis import Redis

ACTIVE, LEASES, _SHAPES, WAITING = (f"{PREFIX}{name}" for name in ("active", "leases", "shapes", "waiting:"))
#: A published message can be missed while a connection is made anew; then the state is looked at this often, seconds.
_LOOK_AGAIN = 1.0


class Ledger:
    """The jobs of one broker. Threads and forks may share it."""

    def __init__(self, redis: Redis, *, retention_s: int, max_queued: int, lease_s: float, max_attempts: int) -> None:
        self._redis = redis
        self._retention_s, self._max_queued = retention_s, max_queued
        self.lease_s, self._max_attempts = lease_s, max_attempts
        self._script = redis.register_script(files(__package__).joinpath("ledger.lua").read_text())
        self._events = EVENTS.format(redis.connection_pool.connection_kwargs.get("db", 0))

    def _ask(self, transition: str, job_id: str, *arguments: str | float) -> Any:
        return self._script(
            keys=[_key(job_id), ACTIVE, LEASES, _SHAPES, WAITING],
            args=[transition, job_id, self._retention_s, self._events, *arguments],
        )

    def _move(self, transition: str, job_id: str, *arguments: str | float) -> str:
        return cast(bytes, self._ask(transition, job_id, *arguments)).decode()

    def create(self, job_id: str, spec: JobSpec, shape: str | None) -> None:
        """Enter a new job as queued and wake a worker. `shape` is the image's, as far as it is known: see `lanes`.

        Raises `QueueFull`.
        """
        expires = spec.limits.expires_s
        answer = self._move(
            "create",
            job_id,
            self._max_queued,
            spec.model_dump_json(),
            broker_priority(spec.priority),
            f"({job_id[:8]}, {spec.model}, {spec.name})",
            shape or "",
            "" if expires is None else expires,
        )
        if answer == "full":
            raise QueueFull(f"{self._max_queued:,} jobs are unfinished, as many as may be; try again later")

    def claim(self, job_id: str, stage: Stage, owner: str) -> JobStatus | str:
        """Take the stage for `owner`: the job, or the state (or `unknown`) for which it can't be had."""
        answer = self._ask("claim", job_id, stage, owner, self.lease_s, self._max_attempts)
        if isinstance(answer, bytes):
            return answer.decode()
        return _status(job_id, dict(zip(answer[::2], answer[1::2], strict=True)))

    def renew(self, job_id: str, owner: str) -> bool:
        """Hold on to a claimed stage; False where it is no longer the owner's."""
        return self._move("renew", job_id, owner, self.lease_s) == "ok"

    def finish(self, job_id: str, stage: Stage, owner: str) -> bool:
        """Move on to the state after the stage; False where it is no longer the owner's."""
        return self._move("finish", job_id, owner, stage.finished) == "ok"

    def fail(self, job_id: str, owner: str, failure: Failure) -> bool:
        """End the job as failed; False where it is no longer the owner's."""
        return self._move("fail", job_id, owner, failure.type, failure.message) == "ok"

    def release(self, job_id: str, owner: str, why: str) -> bool:
        """Give the stage back for another attempt; False where it is no longer the owner's."""
        return self._move("release", job_id, owner, why) == "ok"

    def cancel(self, job_id: str) -> State:
        """End the job as cancelled unless it has ended; returns the state it then has. Raises `UnknownJob`."""
        answer = self._move("cancel", job_id)
        if answer == "unknown":
            raise _unknown(job_id)
        return State.CANCELLED if answer == "ok" else State(answer)

    def reclaim_lost(self) -> Iterator[str]:
        """Give back every stage whose lease has run out, and wake a worker for it; yields the jobs."""
        for job_id in self._leases_over():
            if self._move("reclaim", job_id) == "ok":
                yield job_id

    def resend_lost(self, older_s: float) -> Iterator[str]:
        """Wake a worker for every waiting job that has no message on its queue any more; yields the jobs.

        What was sent in the last `older_s` seconds is left: it may be in the hands of a worker that is about to claim
        it. One that just waits in a long queue is never taken for lost: see `overtaken` in `ledger.lua`.
        """
        for waiting in message_lists():
            for job_id in cast("list[bytes]", self._ask("overtaken", "", waiting, older_s)):
                if self._move("resend", job_id.decode(), waiting) == "ok":
                    yield job_id.decode()

    def _leases_over(self) -> list[str]:
        seconds, micros = self._redis.time()
        found = self._redis.zrangebyscore(LEASES, "-inf", seconds + micros / 1e6, start=0, num=1000)
        return [member.decode() for member in cast("list[bytes]", found)]

    def unfinished(self) -> int:
        """How many jobs have not ended."""
        return self._redis.zcard(ACTIVE)

    def state(self, job_id: str) -> State:
        """The job's state. Raises `UnknownJob`."""
        state = cast("bytes | None", self._redis.hget(_key(job_id), "state"))
        if state is None:
            raise _unknown(job_id)
        return State(state.decode())

    def status(self, job_id: str) -> JobStatus:
        """All that is known of the job. Raises `UnknownJob`."""
        return _status(job_id, cast("dict[bytes, bytes]", self._redis.hgetall(_key(job_id))))

    def wait(self, job_id: str, timeout: float | None) -> JobStatus:
        """The job once it has ended, or as it is after `timeout` seconds. Raises `UnknownJob`."""
        deadline = None if timeout is None else time.monotonic() + timeout
        job = self.status(job_id)
        if job.state.ended:
            return job
        with closing(self._redis.pubsub(ignore_subscribe_messages=True)) as news:  # type: ignore[no-untyped-call]
            news.subscribe(_key(job_id))
            while not (job := self.status(job_id)).state.ended:
                left = _LOOK_AGAIN if deadline is None else min(_LOOK_AGAIN, deadline - time.monotonic())
                if left <= 0:
                    break
                news.get_message(timeout=left)
        return job


def _status(job_id: str, raw: dict[bytes, bytes]) -> JobStatus:
    """The fields of a job's hash, read. Raises `UnknownJob` where there are none."""
    found = {key.decode(): value.decode() for key, value in raw.items()}
    if "state" not in found:
        raise _unknown(job_id)
    return JobStatus(
        id=job_id,
        state=State(found["state"]),
        spec=JobSpec.model_validate_json(found["spec"]),
        lane=found["lane"],
        times={State(k[5:]): float(v) for k, v in found.items() if k.startswith("time:")},
        attempts={Stage(k[9:]): int(v) for k, v in found.items() if k.startswith("attempts:")},
        error=Failure.model_validate_json(found["error"]) if "error" in found else None,
    )


def _key(job_id: str) -> str:
    return f"{PREFIX}job:{job_id}"


def _unknown(job_id: str) -> UnknownJob:
    return UnknownJob(f"no job {job_id}: it never was, or its retention time is over")
