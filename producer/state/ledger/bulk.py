"""Many jobs in a round trip: submitted together, and each accepted or refused alone."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from ...errors import MaskqError, QueueFull, StoreFull
from ...schema import JobSpec
from ..keys import Command
from ..pieces import redis_full_as_store_full
from .submission import Identity, Submission, conflict, new_job

#: What became of a submission: the job's id, or the error with which it was refused.
Entered = str | MaskqError


@dataclass(frozen=True)
class NewJob:
    """A job to be entered; its fields are the arguments of `Submission.create`."""

    id: str
    spec: JobSpec
    shape: str | None
    image: bytes
    identity: Identity


class Bulk(Submission):
    """The producers' transitions for many jobs at once."""

    def create_many(self, jobs: Sequence[NewJob]) -> list[Entered]:
        """Store the images and enter the jobs, in one round trip if the images are small and in this Redis.

        Returns in order what `Submission.create` returns or raises for each: one that is refused (`QueueFull`,
        `StoreFull`, `IdempotencyConflict`) is not entered, its image is not kept, and the others are not affected. Safe
        to repeat if the answer was lost. Raises `BrokerUnavailable` if this Redis user may not do it.
        """
        self.check_permissions()
        entered: dict[str, Entered] = {}
        ready: list[NewJob] = []
        puts: list[Command] = []
        for job in jobs:
            try:
                self._store.check_room(len(job.image))
                put = self._put_image(job.id, job.image)
            except MaskqError as error:
                entered[job.id] = self._refused(job, error)
            else:
                ready.append(job)
                puts += [put] if put else []
        entered |= self._enter_all(ready, puts) if ready else {}
        return [entered[job.id] for job in jobs]

    def _enter_all(self, jobs: Sequence[NewJob], puts: Sequence[Command]) -> dict[str, Entered]:
        """Run the commands that store images, and enter all jobs, in one transaction."""
        new = [(job.id, new_job(job.id, job.spec, job.shape, len(job.image), job.identity)) for job in jobs]
        try:
            with redis_full_as_store_full():
                *_, answers = self._run_script_with(puts, bool(puts), "create_many", "", json.dumps(new))
        except StoreFull as error:
            if len(jobs) == 1:
                return {jobs[0].id: self._refused(jobs[0], error)}
            return {job.id: self.create_many([job])[0] for job in jobs}  # one by one: there may be room for some
        queue_full = cache(self._queue_full)
        return {job.id: self._answered(job, answer, queue_full) for job, answer in zip(jobs, answers, strict=True)}

    def _answered(self, job: NewJob, answer: Any, queue_full: Callable[[str, int], QueueFull]) -> Entered:
        match [part.decode() if isinstance(part, bytes) else part for part in answer]:
            case ["full", bound, count]:
                refused: Entered = queue_full(bound, int(count))
            case ["conflict", other]:
                refused = conflict(other)
            case ["named", other]:
                refused = other
            case _:
                return job.id
        if not self._redis_store:  # in Redis, the script has dropped it
            self._try_to_drop([job.id])
        return refused

    def _refused(self, job: NewJob, error: MaskqError) -> Entered:
        """The error, after the image was dropped; or the job's id if it was entered before, and the answer was lost."""
        if self.exists(job.id):
            return job.id
        self._try_to_drop([job.id])
        return error
