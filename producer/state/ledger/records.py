"""Reads of job records, without transitions."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from typing import Any, cast

from ...errors import UnknownJob
from ...schema import Attempt, Failure, JobSpec, JobStatus, PlaneCounts, Stage, State
from ..keys import ACTIVE, CANCELLED, DEAD, ended_key, job_key
from ..store import Payload
from .script import LedgerScript


class Records(LedgerScript):
    """Reads from the ledger."""

    def state(self, job_id: str) -> State:
        """The job's state. Raises `UnknownJob`."""
        state = cast("bytes | None", self._redis.hget(job_key(job_id), "state"))
        if state is None:
            raise unknown(job_id)
        return State(state.decode())

    def status(self, job_id: str) -> JobStatus:
        """The whole record of the job. Raises `UnknownJob`."""
        return read_status(job_id, cast("dict[bytes, bytes]", self._redis.hgetall(job_key(job_id))))

    def exists(self, job_id: str) -> bool:
        """Whether the ledger has a record of the job."""
        return bool(self._redis.exists(job_key(job_id)))

    def payload(self, job_id: str, kind: Payload) -> bytes:
        """A payload of any job. Raises `PayloadMissing`."""
        return self._store.get(job_id, kind)

    def unfinished(self) -> int:
        """The number of jobs that have not ended."""
        return self._redis.zcard(ACTIVE)

    def rate(self) -> float:
        """Jobs that end in a second, over the last minute."""
        bucket = int(self.now() // 10)
        counts = self._redis.mget(*(ended_key(bucket - back) for back in range(1, 7)))
        return sum(int(cast(Any, count) or 0) for count in cast("list[Any]", counts)) / 60

    def now(self) -> float:
        """Redis's clock, seconds since 1970."""
        seconds, micros = self._redis.time()
        return seconds + micros / 1e6

    def dead(self) -> Iterator[JobStatus]:
        """The dead letters, the oldest first."""
        for job_id in cast("list[bytes]", self._redis.zrange(DEAD, 0, -1)):
            try:
                yield self.status(job_id.decode())
            except UnknownJob:  # its retention time is over
                self._redis.zrem(DEAD, job_id)

    @contextmanager
    def cancellations(self) -> Iterator[Cancellations]:
        """A subscription to the jobs that are cancelled from now on."""
        with closing(self._redis.pubsub(ignore_subscribe_messages=True)) as pubsub:  # type: ignore[no-untyped-call]
            pubsub.subscribe(CANCELLED)
            yield Cancellations(pubsub)


class Cancellations:
    """A subscription to cancelled jobs."""

    def __init__(self, pubsub: Any) -> None:
        self._pubsub = pubsub

    def wait(self, timeout_s: float) -> str | None:
        """The id of the next cancelled job; None after `timeout_s` seconds without one."""
        message = self._pubsub.get_message(timeout=timeout_s)
        return message["data"].decode() if message else None


def read_status(job_id: str, raw: Mapping[bytes, bytes]) -> JobStatus:
    """A job's hash as a status. Raises `UnknownJob` if the hash is empty."""
    record = {field.decode(): value.decode() for field, value in raw.items()}
    if "state" not in record:
        raise unknown(job_id)
    return JobStatus(
        id=job_id,
        state=State(record["state"]),
        spec=JobSpec.model_validate_json(record["spec"]),
        lane=record["lane"],
        times={State(k[5:]): float(v) for k, v in record.items() if k.startswith("time:")},
        attempts={Stage(k[9:]): int(v) for k, v in record.items() if k.startswith("attempts:")},
        error=Failure.model_validate_json(record["error"]) if "error" in record else None,
        history=tuple(Attempt.model_validate(entry) for entry in json.loads(record.get("history", "[]"))),
        suspect="suspect" in record,
        planes=_plane_counts(record),
        parent=record.get("parent"),
    )


def _plane_counts(record: Mapping[str, str]) -> PlaneCounts | None:
    """How far a stack is; None if the job is no stack, or is not split yet."""
    if "planes" not in record:
        return None
    total = int(record["planes"])
    return PlaneCounts(total=total, done=total - int(record["open"]))


def unknown(job_id: str) -> UnknownJob:
    """The error for a job without a record."""
    return UnknownJob(f"no job {job_id}: it never was, or its retention time is over")
