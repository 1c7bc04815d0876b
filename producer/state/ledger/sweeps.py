"""The reconciler's transitions: what has to happen to jobs without anyone asking for it."""

from collections.abc import Iterable, Iterator
from itertools import chain, islice
from typing import cast

from ..keys import DELAYED, EXPIRING, FOLLOWING, KEPT, LEASES, STACKS
from ..routing import QUEUES
from ..store import Payload
from .stacks import Stacks

#: The number of jobs that one sweep handles at most.
_SWEEP = 1000
#: The number of jobs whose payloads are deleted together: in S3, with one request.
_BATCH = 300


class Sweeps(Stacks):
    """Sweeps over jobs whose time has come. Each yields the ids of the jobs that it moved."""

    def reclaim_lost(self) -> Iterator[str]:
        """Return each stage whose lease has run out to its queue, for another attempt."""
        yield from self._due("reclaim", LEASES)

    def resume_delayed(self) -> Iterator[str]:
        """Send messages for the jobs whose delay after a failed attempt is over."""
        yield from self._due("resume", DELAYED)

    def expire_overdue(self) -> Iterator[str]:
        """End the waiting jobs whose time is over."""
        yield from self._due("expire", EXPIRING)

    def resend_lost(self, grace_s: float) -> Iterator[str]:
        """Send another message for each waiting job that has none in its queue any more.

        Messages of the last `grace_s` seconds are left alone: a worker may be about to claim the job. A job that waits
        in a long queue never counts as lost (`overtaken` in `sweeps.lua`).
        """
        yield from self._moved("resend", self._overtaken(grace_s))

    def recount_stacks(self) -> Iterator[str]:
        """Wake the stacks whose planes have all ended or are gone, though nothing told them: Redis lost some writes."""
        yield from self._due("recount", STACKS)

    def wake_followers(self) -> Iterator[str]:
        """Wake the jobs that follow an equal one which is gone, or which waits in the queue again."""
        yield from self._due("unfollow", FOLLOWING)

    def shed_images(self) -> Iterator[str]:
        """Drop the images of ended jobs that are past their time, or that are too much together."""
        for job_id in cast("list[bytes]", self._run_script("shed", "")):
            if not self._redis_store:  # in Redis it has expired, or the script has dropped it
                self._store.drop_soon(job_id.decode(), Payload.IMAGE)
            yield job_id.decode()

    def past_retention(self) -> list[str]:
        """Ended jobs whose retention time is over."""
        return self._up_to_now(KEPT)

    def purge(self, job_ids: Iterable[str]) -> Iterator[str]:
        """Delete jobs whose retention time is over; yields those that are deleted.

        Payloads go first: if the store raises, the records stay and the next sweep tries again.
        """
        remaining = iter(job_ids)
        while batch := [*islice(remaining, _BATCH)]:
            self._store.drop_jobs(chain.from_iterable(map(self._with_planes, batch)))
            yield from self._moved("delete", ((job_id,) for job_id in batch))

    def _overtaken(self, grace_s: float) -> Iterator[tuple[str, str]]:
        """The waiting jobs whose message is lost, each with the list that it is missing from."""
        for queue in QUEUES:
            self._transition("admit", "", queue)
            lost = cast("list[bytes]", self._run_script("overtaken", "", queue, grace_s))
            for job_id, message_list in zip(lost[::2], lost[1::2], strict=True):
                yield job_id.decode(), message_list.decode()

    def _due(self, transition: str, times: str) -> Iterator[str]:
        """Move the jobs whose time in a sorted set has come."""
        yield from self._moved(transition, ((job_id,) for job_id in self._up_to_now(times)))

    def _moved(self, transition: str, jobs: Iterable[tuple[str, ...]]) -> Iterator[str]:
        """Run a transition for each job and its arguments; yields the jobs that it applied to.

        A job that Redis can't move (a damaged record) holds up no other: its error is raised after the last job.
        """
        from redis.exceptions import ResponseError

        failed: ResponseError | None = None
        for job_id, *arguments in jobs:
            try:
                moved = self._transition(transition, job_id, *arguments) == "ok"
            except ResponseError as error:
                failed = failed or error
            else:
                if moved:
                    yield job_id
        if failed:
            raise failed

    def _up_to_now(self, times: str) -> list[str]:
        due = self._redis.zrangebyscore(times, "-inf", self.now(), start=0, num=_SWEEP)
        return [member.decode() for member in cast("list[bytes]", due)]
