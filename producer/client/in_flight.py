"""The jobs of one `Client.map`: submitted together, and their results fetched together."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from ..errors import (
    BrokerUnavailable,
    JobUnfinished,
    MaskqError,
    PayloadMissing,
    QueueFull,
    StoreFull,
    StoreUnavailable,
    UnknownJob,
    WaitTimeout,
)
from ..schema import JobStatus
from ..state.broker_errors import broker_errors
from ..state.connections import Connections
from ..state.ledger import AT_ONCE, Entered, Found, NewJob
from .job import RESULT, Job, Result
from .requests import Request, Requests

#: The pause before another attempt while there is no room and no job of this call that could make some (seconds).
_PAUSE_S = 0.25
#: The most jobs of the first round trip.
_FIRST = 8
#: The interval at which `watch` is called with the job that is waited for (seconds).
_WATCH_S = 0.5

Watch = Callable[[JobStatus], None]


@dataclass
class _Place:
    """The place of one source: first it is a request, then a job, then what became of that."""

    #: The job that found no room yet.
    unsent: NewJob | None = None
    job: Job | None = None
    error: Exception | None = None
    #: What has come of the job already.
    found: Found | None = None


class InFlight:
    """The sources that are read and not yielded, in order, `limit` at most."""

    def __init__(
        self,
        requests: Requests,
        enter: Callable[[Sequence[NewJob]], Sequence[Entered]],
        connections: Connections,
        limit: int,
    ) -> None:
        self._requests, self._enter, self._connections, self._limit = requests, enter, connections, limit
        self._places: deque[_Place] = deque()
        #: How many are submitted together: few at first, so that workers need not wait for many to be read.
        self._together = _FIRST
        #: How many jobs are looked at together: more, if those that were looked at had all ended.
        self._at_once = 1

    def fill(self) -> bool:
        """Submit until `limit` are in flight; False if none is left.

        A quarter of them is submitted at a time, and while some find no room, no more are read.
        """
        unsent = [place for place in self._places if place.unsent]
        self._send(unsent)
        while not any(place.unsent for place in unsent):
            room = self._limit - len(self._places)
            if room < max(1, self._limit // 4) or not (group := self._requests.take(min(room, self._together))):
                break
            self._together = min(AT_ONCE, 2 * self._together)
            unsent = [_place(request) for request in group]
            self._places += unsent
            self._send(unsent)
        return bool(self._places)

    def _send(self, places: Sequence[_Place]) -> None:
        """Submit those that are not yet. Raises `BrokerUnavailable`, `StoreUnavailable`."""
        jobs = [place.unsent for place in places if place.unsent]
        if not jobs:
            return
        sent = (place for place in places if place.unsent)
        for place, entered in zip(sent, self._enter(jobs), strict=True):
            if isinstance(entered, BrokerUnavailable | StoreUnavailable):
                raise entered
            if isinstance(entered, QueueFull | StoreFull):  # with these jobs or others': some of them will end
                continue
            place.unsent = None
            if isinstance(entered, str):
                place.job = Job(entered, self._connections)
            else:
                place.error = entered

    def next(self, watch: Watch | None) -> Result | Exception:
        """Wait for the outcome of the first."""
        first = self._places[0]
        while first.unsent:
            time.sleep(_PAUSE_S)
            self.fill()
        outcome = first.error or self._outcome(first, first.job, watch)
        self._places.popleft()
        return outcome

    def _outcome(self, first: _Place, job: Job | None, watch: Watch | None) -> Result | Exception:
        assert job
        looked = first.found is None and self._look()
        try:
            if first.found is None and watch:
                return _watched(job, watch)
            found = first.found or _wait(job, self._connections, looked)
            return outcome_of(job, found)
        except (JobUnfinished, PayloadMissing, UnknownJob) as error:
            return error

    def _look(self) -> bool:
        """Fetch what has ended of the next jobs, unless something fetched is left; whether the first was looked at."""
        places = [place for place in self._places if place.job]
        if self._at_once == 1 or any(place.found for place in places):
            self._at_once = min(AT_ONCE, 2 * self._at_once)
            return False
        places = places[: self._at_once]
        with suppress(BrokerUnavailable), broker_errors():
            found = self._connections.ledger.gather([place.job.id for place in places if place.job], RESULT)
            for place in places:
                place.found = found.get(place.job.id) if place.job else None
            self._at_once = min(AT_ONCE, max(2 * len(found), self._at_once // 2, 1))
            return True
        return False

    def cancel(self) -> None:
        """Cancel the jobs, as far as the broker answers."""
        for place in self._places:
            if place.job and place.found is None:
                with suppress(MaskqError):
                    place.job.cancel()


def _place(request: Request) -> _Place:
    return _Place(unsent=request) if isinstance(request, NewJob) else _Place(error=request)


@broker_errors()
def _wait(job: Job, connections: Connections, looked: bool) -> Found:
    """Wait for the job's end; raises `UnknownJob`."""
    return connections.ledger.wait_with(job.id, None, RESULT, looked=looked)


def _watched(job: Job, watch: Watch) -> Result:
    """Wait for the job's result and show meanwhile how far it is. Keeps waiting while the broker is away."""
    while True:
        with suppress(WaitTimeout, BrokerUnavailable):
            return job.wait(_WATCH_S)
        with suppress(BrokerUnavailable):
            watch(job.status())


def outcome_of(job: Job, found: Found) -> Result | JobUnfinished | PayloadMissing | UnknownJob:
    """The result of a job that has ended, or the error instead of it."""
    if isinstance(found, UnknownJob):
        return found
    try:
        with broker_errors():
            return job._result(*found)
    except (JobUnfinished, PayloadMissing) as error:
        return error
