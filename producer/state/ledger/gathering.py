"""Waiting for many jobs: one subscription for all of them, and the results of several in a round trip."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import islice
from typing import Any, TypeAlias

from ...errors import BrokerUnavailable, UnknownJob
from ...schema import JobStatus
from ..keys import job_key, payload_key
from ..store import Payload
from .records import read_status
from .waiting import LOOK_AGAIN_S, RETRY_S, Waiting, confirm, say_polling, says_ended

#: A job that has ended, with those of its payloads that came along; or the error that there is no such job.
Found: TypeAlias = "tuple[JobStatus, Mapping[Payload, bytes]] | UnknownJob"

#: The most jobs that one round trip asks for, and the most bytes of payloads that one brings.
AT_ONCE, MAX_BYTES = 64, 8 << 20
#: The most channels that one command subscribes to.
_CHANNELS = 1000
#: How often all jobs are looked at, whatever was said of them: that many seconds a job, `LOOK_AGAIN_S` at least.
_LOOK_S_A_JOB = 0.001
#: As `_LOOK_S_A_JOB`, but for a Redis user who may not subscribe: at least that many seconds.
_POLL_S = 0.25


class Gathering(Waiting):
    """Waits of clients for many jobs."""

    def gather(self, job_ids: Sequence[str], reads: Sequence[Payload]) -> dict[str, Found]:
        """Those of the jobs, `AT_ONCE` at most, that have ended, with those of their payloads that are small and in
        this Redis. Beyond `MAX_BYTES` of payloads, the jobs that follow are left out.
        """
        return self._no_retry._gather(job_ids, reads)[0]

    def as_ended(
        self, job_ids: Iterable[str], timeout: float | None, reads: Sequence[Payload]
    ) -> Iterator[dict[str, Found]]:
        """Yield the jobs as they end, some at a time, with payloads as in `gather`; stops `timeout` seconds later.

        Keeps waiting while the broker is away. Raises `BrokerUnavailable` if it still is at the timeout.
        """
        from redis.exceptions import ConnectionError, TimeoutError

        left = dict.fromkeys(job_ids)
        deadline = time.monotonic() + (float("inf") if timeout is None else timeout)
        while left:
            try:
                for found in self._no_retry._as_ended([*left], deadline, reads):
                    for job_id in found:
                        del left[job_id]
                    yield found
                return
            except (ConnectionError, TimeoutError) as error:
                if time.monotonic() > deadline:
                    raise BrokerUnavailable(
                        f"waited for {len(left):,} jobs; the broker does not answer: {error}"
                    ) from error
                time.sleep(RETRY_S)

    def _as_ended(
        self, job_ids: Sequence[str], deadline: float, reads: Sequence[Payload]
    ) -> Iterator[dict[str, Found]]:
        left = dict.fromkeys(job_ids)
        with self._listening_to_all(job_ids) as listen:
            due: Iterable[str] = job_ids
            while True:
                for found in self._gather_all(due, reads):
                    for job_id in found:
                        left.pop(job_id, None)
                    yield found
                remaining = deadline - time.monotonic()
                if not left or remaining <= 0:
                    return
                ended = listen(min(remaining, max(LOOK_AGAIN_S, _LOOK_S_A_JOB * len(left))))
                due = [*left] if ended is None else [job_id for job_id in ended if job_id in left]

    def _gather_all(self, job_ids: Iterable[str], reads: Sequence[Payload]) -> Iterator[dict[str, Found]]:
        """Those of the jobs that have ended, however many, some at a time."""
        remaining = iter(job_ids)
        some: list[str] = []
        while some := [*some, *islice(remaining, AT_ONCE - len(some))]:
            found, some = self._gather(some, reads)
            if found:
                yield found

    def _gather(self, job_ids: Sequence[str], reads: Sequence[Payload]) -> tuple[dict[str, Found], list[str]]:
        """As `gather`; also those that have ended and were left out."""
        statuses, sizes = self._look(job_ids, reads)
        taken: dict[str, Found] = {}
        size = 0
        for job_id, found in statuses.items():
            size += sum(sizes.get(job_id, {}).values())
            if taken and size > MAX_BYTES:
                break
            taken[job_id] = found
        wanted = [(job_id, kind) for job_id in taken for kind in sizes.get(job_id, ())]
        payloads: dict[str, dict[Payload, bytes]] = {}
        for (job_id, kind), data in zip(wanted, self._read_all(wanted), strict=True):
            if data is not None:
                payloads.setdefault(job_id, {})[kind] = data
        for job_id, found in taken.items():
            if isinstance(found, tuple):
                taken[job_id] = found[0], payloads.get(job_id, {})
        return taken, [job_id for job_id in statuses if job_id not in taken]

    def _look(
        self, job_ids: Sequence[str], reads: Sequence[Payload]
    ) -> tuple[dict[str, Found], dict[str, dict[Payload, int]]]:
        """The jobs that have ended, and the sizes of their payloads in this Redis, without those that are in pieces."""
        kinds = tuple(reads) if self._redis_store else ()
        with self._redis.pipeline(transaction=False) as pipe:
            for job_id in job_ids:
                pipe.hgetall(job_key(job_id))
                for kind in kinds:
                    pipe.strlen(payload_key(job_id, kind))
            answers = iter(pipe.execute(raise_on_error=False))
        ended: dict[str, Found] = {}
        sizes: dict[str, dict[Payload, int]] = {}
        for job_id in job_ids:
            record = next(answers)
            lengths = {kind: next(answers) for kind in kinds}
            if isinstance(record, Exception):
                raise record
            try:
                status = read_status(job_id, record)
            except UnknownJob as error:
                ended[job_id] = error
                continue
            if status.state.ended:
                ended[job_id] = status, {}
                # A payload in pieces is an error here, and one that is gone has no bytes: the store tells them apart.
                sizes[job_id] = {kind: size for kind, size in lengths.items() if isinstance(size, int) and size}
        return ended, sizes

    def _read_all(self, payloads: Sequence[tuple[str, Payload]]) -> list[bytes | None]:
        """The small payloads, None for each that is gone; in one command."""
        if not payloads:
            return []
        answer: Any = self._redis.mget([payload_key(job_id, kind) for job_id, kind in payloads])
        return list(answer)

    @contextmanager
    def _listening_to_all(self, job_ids: Sequence[str]) -> Iterator[Callable[[float], list[str] | None]]:
        """Listens to the states that the jobs enter: for some seconds, and returns those that have ended.

        The answer is None if it is time to look at all. A Redis user who may not subscribe looks from time to time.
        """
        from redis.exceptions import NoPermissionError

        pubsub = self._redis.pubsub()  # type: ignore[no-untyped-call]
        try:
            try:
                for start in range(0, len(job_ids), _CHANNELS):
                    channels = [job_key(job_id) for job_id in job_ids[start : start + _CHANNELS]]
                    pubsub.subscribe(*channels)
                    confirm(pubsub, channels[-1])
            except NoPermissionError as error:
                say_polling(str(error))
                yield lambda seconds: time.sleep(min(seconds, max(_POLL_S, _LOOK_S_A_JOB * len(job_ids))))
                return
            yield lambda seconds: _ended(pubsub, seconds)
        finally:
            with suppress(Exception):
                pubsub.close()


def _ended(pubsub: Any, seconds: float) -> list[str] | None:
    """The jobs that end next, as far as it is known at once; None if none does within so many seconds."""
    until = time.monotonic() + seconds
    ended: dict[str, None] = {}
    while len(ended) < AT_ONCE:
        message = pubsub.get_message(timeout=0 if ended else max(0.0, until - time.monotonic()))
        if says_ended(message):
            ended[message["channel"].decode().removeprefix(job_key(""))] = None
        elif (ended and message is None) or time.monotonic() >= until:
            break
    return [*ended] or None
