"""Server-sent events: the states of a job."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskq import Failure, JobStatus, State
from maskq.producer.gateway.errors import GatewayBusy
from maskq.producer.gateway.routes.events import StateHistory
from tests.unit.gateway.fakes import HERE, STATUS, Http, assert_problem


def events(response: httpx.Response) -> list[dict[str, Any]]:
    """The data of each event."""
    assert response.headers["content-type"].startswith("text/event-stream")
    return [json.loads(line.removeprefix("data: ")) for line in response.text.splitlines() if line.startswith("data: ")]


def at(state: State, **times: float) -> JobStatus:
    """The job in a state; `times` are the times at which it entered its states."""
    return STATUS.model_copy(update={"state": state, "times": {State(name): when for name, when in times.items()}})


def test_each_state_is_one_event_until_the_job_ends(http: Http) -> None:
    http.client.current_job.current = at(State.QUEUED, queued=1)
    http.subscriptions.updates = [
        at(State.QUEUED, queued=1),
        at(State.EMBEDDED, queued=1, embedding=2, embedded=3.5),
        STATUS,
    ]
    sent = events(http("GET", f"{HERE}/events"))
    assert [event["state"] for event in sent] == list(STATUS.times)


def test_the_last_event_has_the_error(http: Http) -> None:
    error = Failure(type="NotAnImage", message="not a PNG")
    http.client.current_job.current = at(State.FAILED, queued=1, failed=2).model_copy(update={"error": error})
    *_, last = events(http("GET", f"{HERE}/events"))
    assert (last["state"], last["error"]["type"], last["time"]) == ("failed", "NotAnImage", 2)


def test_a_browser_that_reconnects_after_the_last_event_gets_204(http: Http) -> None:
    assert http("GET", f"{HERE}/events", headers={"Last-Event-ID": "done"}).status_code == 204
    assert http("GET", f"{HERE}/events", headers={"Last-Event-ID": "queued"}).status_code == 200


def test_too_many_subscriptions_are_503(http: Http) -> None:
    http.subscriptions.full = True
    for path in ("events", "result?wait=1"):
        response = http("GET", f"{HERE}/{path}")
        assert_problem(response, 503, GatewayBusy)
        assert "retry-after" in response.headers


def test_comments_keep_an_idle_stream_alive(http: Http, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("maskq.producer.gateway.routes.events.HEARTBEAT_S", 0.0)
    http.client.current_job.current = waiting = at(State.QUEUED, queued=1)
    http.subscriptions.updates = [waiting, waiting]
    response = http("GET", f"{HERE}/events")
    assert len(events(response)) == 1
    assert response.text.count(": still waiting\n\n") == 3


def test_a_second_attempt_is_an_event_and_so_is_the_return_to_the_queue() -> None:
    history = StateHistory()
    updates = [
        history.update(at(State.EMBEDDING, queued=1, embedding=2)),
        history.update(at(State.QUEUED, queued=1, embedding=2)),
        history.update(at(State.QUEUED, queued=1, embedding=2)),
        history.update(at(State.EMBEDDING, queued=1, embedding=9)),
    ]
    assert updates == [
        [(State.QUEUED, 1), (State.EMBEDDING, 2)],
        [(State.QUEUED, None)],
        [],
        [(State.EMBEDDING, 9)],
    ]


@given(polls=st.lists(st.integers(1, 5), min_size=1))
def test_at_any_polling_rate_every_state_is_reported_once_and_in_order(polls: list[int]) -> None:
    history, order = StateHistory(), list(STATUS.times)
    reported = []
    for number in [*sorted(polls), len(order)]:
        times = {state: STATUS.times[state] for state in order[:number]}
        reported += history.update(STATUS.model_copy(update={"state": order[number - 1], "times": times}))
    assert reported == list(STATUS.times.items())
