"""Server-sent events: each state that a job enters, until it ends."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncGenerator
from typing import cast

from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from ...errors import MaskqError
from ...schema import JobStatus, State
from ..dependencies import Gateway

#: A stream is ended after so many seconds; who still wants to know opens another, as browsers do by themselves.
MOST_S = 900.0
#: Where nothing happens, a comment is sent this often, so that proxies don't take the connection for dead, seconds.
HEARTBEAT_S = 15.0
_ORDER = {state: number for number, state in enumerate(State)}


class StateHistory:
    """What has been told of one job."""

    def __init__(self) -> None:
        self._times: dict[State, float] = {}
        self._last: State | None = None

    def new(self, job: JobStatus) -> list[tuple[State, float | None]]:
        """The states that it has entered since, in order, and when: seconds since 1970 by the broker's clock. Of one
        that went back to waiting, that is not known.
        """
        entered = [(state, when) for state, when in job.times.items() if self._times.get(state) != when]
        entered.sort(key=lambda told: (told[1], _ORDER[told[0]]))
        found: list[tuple[State, float | None]] = [*entered]
        if job.state is not (found[-1][0] if found else self._last):
            found.append((job.state, None))
        self._times, self._last = job.times, job.state
        return found


def event(job: JobStatus, state: State, when: float | None) -> str:
    """One state, as an event of the kind `state`; the one that the job ended with may have its `error`."""
    data: dict[str, object] = {"job_id": job.id, "state": state, "time": when}
    if state.ended and job.error:
        data["error"] = job.error.model_dump(mode="json")
    return f"event: state\nid: {state}\ndata: {json.dumps(data)}\n\n"


async def stream(gateway: Gateway, job_id: str) -> AsyncGenerator[str, None]:
    """The events, and comments between them. Raises as `Subscriptions.of`, and `UnknownJob`, before the first."""
    story, spoke = StateHistory(), time.monotonic()
    async with gateway.news.of(job_id, MOST_S) as moments:
        async for _ in moments:
            job = await gateway.ask(gateway.client.job(job_id).status)
            for state, when in story.new(job):
                yield event(job, state, when)
                spoke = time.monotonic()
            if job.state.ended:
                return
            if time.monotonic() - spoke > HEARTBEAT_S:
                yield ": still waiting\n\n"
                spoke = time.monotonic()


class EventStream(StreamingResponse):
    """A stream that has begun. It ends early, as if its time were over, where the broker or the job goes away."""

    def __init__(self, first: str, rest: AsyncGenerator[str, None]) -> None:
        super().__init__(_whole(first, rest), headers={"Cache-Control": "no-store"}, media_type="text/event-stream")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it; who leaves in between frees their place at once."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            await cast("AsyncGenerator[str, None]", self.body_iterator).aclose()


async def _whole(first: str, rest: AsyncGenerator[str, None]) -> AsyncGenerator[str, None]:
    try:
        yield first
        async for more in rest:
            yield more
    except MaskqError:
        return
    finally:
        await rest.aclose()
