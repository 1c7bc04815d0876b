"""A job's entry with its image, a stage's claim with what it reads, its finish with what it writes, its end with what
came of it: where the ledger and the store lie in one Redis, each pair in one round trip, what is written all or none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from ..errors import QueueFull, StoreFull
from ..schema import JobSpec, JobStatus, Stage
from .keys import Command
from .ledger import Ledger
from .store import Payload, PayloadStore, RedisStore, room_in_redis

#: Payloads of one job.
Results: TypeAlias = Mapping[Payload, bytes]


@dataclass(frozen=True)
class Claimed:
    """A stage that was granted."""

    job: JobStatus
    #: Gives the payload that was asked for. Raises `PayloadMissing`.
    read: Callable[[], bytes]


@dataclass(frozen=True)
class Done:
    """What came of a stage's work."""

    #: A line for people.
    said: str
    #: What is to be stored.
    payloads: Mapping[Payload, bytes] = field(default_factory=dict)
    #: What no one needs once this is known.
    spent: tuple[Payload, ...] = ()


class Desk:
    """Where jobs are handed in, taken from, and handed on."""

    def __init__(self, ledger: Ledger, store: PayloadStore) -> None:
        self._ledger, self._store = ledger, store
        #: The store, if it lies beside the ledger.
        self._beside = store if isinstance(store, RedisStore) else None

    def enter(
        self,
        job_id: str,
        spec: JobSpec,
        shape: str | None,
        image: bytes,
        *,
        same: str | None = None,
        key: str | None = None,
    ) -> str:
        """Store the image and enter the job; returns the id of the job that does it, whose image alone is kept.

        May be done twice, where the first time's answer was lost. `shape`, `same` and `key` are those of
        `Ledger.create`. Raises `QueueFull`, `StoreFull`.
        """
        self._store.check_room(len(image))
        first: Command | None = None
        if self._beside and self._beside.is_small(image):
            first = self._beside.putting(job_id, Payload.IMAGE, image)
        else:
            self._store.put(job_id, Payload.IMAGE, image)
        try:
            with room_in_redis():
                entered = self._ledger.create(job_id, spec, shape, bytes_=len(image), same=same, key=key, first=first)
        except (QueueFull, StoreFull):
            if self._ledger.knows(job_id):  # it was entered before, and the answer was lost
                return job_id
            self._store.drop(job_id, Payload.IMAGE)
            raise
        if entered != job_id:
            self._store.drop(job_id, Payload.IMAGE)
        return entered

    def claim(self, job_id: str, stage: Stage, owner: str, worker: str, reads: Payload) -> Claimed | str:
        """Take the stage for `owner`: the job, or the state (or `unknown`) for which it can't be had."""
        if self._beside:
            job, data = self._ledger.claim_and(self._beside.reading(job_id, reads), job_id, stage, owner, worker)
        else:
            job, data = self._ledger.claim(job_id, stage, owner, worker), None
        if isinstance(job, str):
            return job
        came = [] if data is None else [data]  # it did not where it is in pieces, or gone

        def read() -> bytes:  # what is given away is not held here as well
            return came.pop() if came else self._store.get(job_id, reads)

        return Claimed(job, read)

    def finish(self, job_id: str, stage: Stage, owner: str, done: Done) -> bool:
        """Store what was made, and move on to the state after the stage; False where it is no longer the owner's.

        Beside the ledger, nothing is stored then; elsewhere it is left, for it may be another's by now: see `discard`.
        Raises `StoreFull`.
        """
        if self._beside and all(map(self._beside.is_small, done.payloads.values())):
            aside = {str(kind): self._beside.aside(job_id, kind, data, owner) for kind, data in done.payloads.items()}
            with room_in_redis():
                return self._ledger.finish(job_id, stage, owner, aside)
        for kind, data in done.payloads.items():
            self._store.put(job_id, kind, data)
        finished = self._ledger.finish(job_id, stage, owner)
        if finished and not self._beside:  # the ledger's own transition drops what lies beside it
            self.discard(job_id, done.spent)
        return finished

    def wait(self, job_id: str, timeout: float | None, reads: Sequence[Payload]) -> tuple[JobStatus, Results]:
        """The job as `Ledger.wait` gives it, and those of its payloads that came with it.

        The others have to be asked for. Raises as `Ledger.wait` does.
        """
        if not self._beside:
            return self._ledger.wait(job_id, timeout), {}
        job, found = self._ledger.wait_and(self._beside.reading_all(job_id, reads), job_id, timeout)
        return job, {kind: data for kind, data in zip(reads, found or (), strict=False) if data is not None}

    def discard(self, job_id: str, kinds: Iterable[Payload]) -> None:
        """Drop what no one needs."""
        for kind in kinds:
            self._store.drop(job_id, kind)
