"""The ledger: each job's state in a Redis hash, moved by atomic transitions. It is the truth; messages only wake.

A worker *claims* a stage and holds it by a lease that it renews; finishing, failing or releasing it asks for the same
owner. So a second delivery of a message finds the stage claimed or finished and is dropped, and a job whose worker
died comes back when the lease runs out. The transitions are in `ledger.lua`.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from importlib.resources import files
from typing import TYPE_CHECKING, cast

from .contract import Failure, JobSpec, JobStatus, Stage, State
from .errors import QueueFull, UnknownJob

if TYPE_CHECKING:
    from redis import Redis

#: Every key that maskq writes begins with this (kombu's own queues are named for themselves).
PREFIX = "maskq:"
_ACTIVE, _LEASES, _WAITING = f"{PREFIX}active", f"{PREFIX}leases", f"{PREFIX}waiting"
#: A published message can be missed while a connection is made anew; then the state is looked at this often, seconds.
_LOOK_AGAIN = 1.0


class Ledger:
    """The jobs of one broker. Threads and forks may share it."""

    def __init__(self, redis: Redis, *, retention_s: int, max_queued: int, lease_s: float, max_attempts: int) -> None:
        self._redis = redis
        self._retention_s, self._max_queued = retention_s, max_queued
        self.lease_s, self._max_attempts = lease_s, max_attempts
        self._script = redis.register_script(files(__package__).joinpath("ledger.lua").read_text())

    def _move(self, transition: str, job_id: str, *arguments: str | float) -> str:
        answer = self._script(
            keys=[_key(job_id), _ACTIVE, _LEASES, _WAITING],
            args=[transition, job_id, self._retention_s, *arguments],
        )
        return cast(bytes, answer).decode()

    def create(self, job_id: str, spec: JobSpec, lane: str) -> None:
        """Enter a new job as queued. Raises `QueueFull`."""
        expires = spec.limits.expires_s
        answer = self._move(
            "create", job_id, self._max_queued, spec.model_dump_json(), lane, "" if expires is None else expires
        )
        if answer == "full":
            raise QueueFull(f"{self._max_queued:,} jobs are unfinished, as many as may be; try again later")

    def claim(self, job_id: str, stage: Stage, owner: str) -> str:
        """Take the stage for `owner`: `ok`, or the state (or `unknown`) for which it can't be had."""
        return self._move("claim", job_id, stage, owner, self.lease_s, self._max_attempts)

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
        """Give back every stage whose lease has run out; yields the jobs, which now wait for a message."""
        for job_id in self._scored_up_to(_LEASES, self._now()):
            if self._move("reclaim", job_id) == "ok":
                yield job_id

    def unheard(self, older_s: float) -> Iterator[str]:
        """Jobs that have waited `older_s` seconds since their last message; counts them as sent to now."""
        for job_id in self._scored_up_to(_WAITING, self._now() - older_s):
            if self._move("resend", job_id) == "ok":
                yield job_id

    def _scored_up_to(self, key: str, score: float) -> list[str]:
        found = cast("list[bytes]", self._redis.zrangebyscore(key, "-inf", score, start=0, num=1000))
        return [member.decode() for member in found]

    def _now(self) -> float:
        seconds, micros = self._redis.time()
        return seconds + micros / 1e6

    def unfinished(self) -> int:
        """How many jobs have not ended."""
        return self._redis.zcard(_ACTIVE)

    def state(self, job_id: str) -> State:
        """The job's state. Raises `UnknownJob`."""
        state = cast("bytes | None", self._redis.hget(_key(job_id), "state"))
        if state is None:
            raise _unknown(job_id)
        return State(state.decode())

    def status(self, job_id: str) -> JobStatus:
        """All that is known of the job. Raises `UnknownJob`."""
        raw = cast("dict[bytes, bytes]", self._redis.hgetall(_key(job_id)))
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

    def wait(self, job_id: str, timeout: float | None) -> State:
        """The job's state once it has ended, or as it is after `timeout` seconds. Raises `UnknownJob`."""
        deadline = None if timeout is None else time.monotonic() + timeout
        state = self.state(job_id)
        if state.ended:
            return state
        with closing(self._redis.pubsub(ignore_subscribe_messages=True)) as news:  # type: ignore[no-untyped-call]
            news.subscribe(_key(job_id))
            while not (state := self.state(job_id)).ended:
                left = _LOOK_AGAIN if deadline is None else min(_LOOK_AGAIN, deadline - time.monotonic())
                if left <= 0:
                    break
                news.get_message(timeout=left)
        return state


def _key(job_id: str) -> str:
    return f"{PREFIX}job:{job_id}"


def _unknown(job_id: str) -> UnknownJob:
    return UnknownJob(f"no job {job_id}: it never was, or its retention time is over")
