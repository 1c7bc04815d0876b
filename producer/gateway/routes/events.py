"""Server-sent events: a job's states as it enters them."""

import json
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from typing import cast

from fastapi import APIRouter, Request, Response
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from ...errors import MaskqError, UnknownJob
from ...schema import JobStatus, State
from ..dependencies import JOBS, NO_QUERY, Gateway, GatewayDep, JobId
from ..errors import GatewayBusy
from ..limits.shares import sender_of
from ..problems import openapi_responses

router = APIRouter(prefix=JOBS, tags=["jobs"])

#: Maximum duration of a stream, seconds; clients reconnect, as browsers do by themselves.
MAX_STREAM_S = 900.0
#: Interval of comments on an idle stream, which keep proxies from closing the connection; seconds.
HEARTBEAT_S = 15.0
_ORDER = {state: number for number, state in enumerate(State)}
_ERRORS = openapi_responses(UnknownJob, GatewayBusy)
_FINAL_STATES = {str(state) for state in State if state.ended}


@router.get("/{job_id}/events", dependencies=NO_QUERY, responses=_ERRORS, response_class=Response)
async def events(request: Request, gateway: GatewayDep, job_id: JobId) -> Response:
    """Server-sent events: one named `state` for each state that the job has entered or enters, until it ends.

    A browser that reconnects after the last event (`Last-Event-ID`) gets 204, which stops it.
    """
    if request.headers.get("last-event-id") in _FINAL_STATES:
        return Response(status_code=204)
    stream = _stream(gateway, job_id, sender_of(request))
    body = _chain(await anext(stream), stream)
    return _EventStream(body, headers={"Cache-Control": "no-store"}, media_type="text/event-stream")


class StateHistory:
    """The states of one job that a stream has sent."""

    def __init__(self) -> None:
        self._times: dict[State, float] = {}
        self._last: State | None = None

    def update(self, job: JobStatus) -> list[tuple[State, float | None]]:
        """The states entered since the last update, in order, with their times: seconds since 1970 by the broker's
        clock; None for a return to a waiting state, whose time is not known.
        """
        entered = [(state, when) for state, when in job.times.items() if self._times.get(state) != when]
        entered.sort(key=lambda entry: (entry[1], _ORDER[entry[0]]))
        new: list[tuple[State, float | None]] = [*entered]
        if job.state is not (new[-1][0] if new else self._last):
            new.append((job.state, None))
        self._times, self._last = job.times, job.state
        return new


def _event(job: JobStatus, state: State, when: float | None) -> str:
    """A state as an event; a final state includes the job's error."""
    data: dict[str, object] = {"job_id": job.id, "state": state, "time": when}
    if state.ended and job.error:
        data["error"] = job.error.model_dump(mode="json")
    return f"event: state\nid: {state}\ndata: {json.dumps(data)}\n\n"


async def _stream(gateway: Gateway, job_id: str, sender: str) -> AsyncGenerator[str, None]:
    """The events of a job, and comments between them. Raises the errors of `Subscriptions.subscribe` and `UnknownJob`
    before the first event.
    """
    history, last_sent = StateHistory(), time.monotonic()
    async with gateway.subscriptions.subscribe(job_id, MAX_STREAM_S, sender) as changes:
        async for _ in changes:
            job = await gateway.in_thread(gateway.client.job(job_id).status)
            for state, when in history.update(job):
                yield _event(job, state, when)
                last_sent = time.monotonic()
            if job.state.ended:
                return
            if time.monotonic() - last_sent > HEARTBEAT_S:
                yield ": still waiting\n\n"
                last_sent = time.monotonic()


class _EventStream(StreamingResponse):
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with aclosing(cast("AsyncGenerator[str, None]", self.body_iterator)):
            await super().__call__(scope, receive, send)  # a client that disconnects frees its subscription at once


async def _chain(first: str, rest: AsyncGenerator[str, None]) -> AsyncGenerator[str, None]:
    """The events; ends early, as after the maximum duration, if the broker or job is lost."""
    async with aclosing(rest):
        yield first
        with suppress(MaskqError):
            async for event in rest:
                yield event
