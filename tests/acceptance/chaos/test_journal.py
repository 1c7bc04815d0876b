"""The journal reports every transition and every invalid one; the other chaos tests rely on it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from maskq import Settings, State
from maskq.producer.schema import JobSpec, Stage
from maskq.producer.state.connections import Connections
from maskq.producer.state.ledger import Claim
from maskq.producer.state.store import Payload
from maskq.workers.local.redis_server import private_redis
from maskq.workers.supervision.supervisor import Supervisor
from tests.conftest import until

from .journal import read
from .report import Report, report, unfit


@pytest.fixture
def to(tmp_path: Path) -> Iterator[Connections]:
    """A Redis whose data is in `tmp_path`, with one job that is done."""
    server, supervisor = private_redis(tmp_path), Supervisor()
    supervisor.start(server.program)
    try:
        with closing(Connections.open(Settings(broker_url=server.url))) as opened:
            until(lambda: _done(opened))
            # on a busy disk Redis delays writing by up to 2 s
            until(lambda: any(story.entered(State.DONE) for story in read(tmp_path).values()))
            yield opened
    finally:
        supervisor.stop(grace_s=5)


def _done(to: Connections) -> bool:
    to.ledger.create("job", JobSpec(), None)
    for stage in Stage:
        to.ledger.claim(Claim("job", stage, "one"))
        to.ledger.finish(Claim("job", stage, "one"))
    return to.ledger.state("job") is State.DONE


def told(folder: Path) -> Report:
    return report(0, read(folder), ["job", "unheard of"], 0, [])


def test_it_has_every_transition_with_its_time(to: Connections, tmp_path: Path) -> None:
    (story,) = read(tmp_path).values()
    way = [State.QUEUED, State.EMBEDDING, State.EMBEDDED, State.CLUSTERING, State.DONE]
    expected: list[Any] = [(state, pytest.approx(to.ledger.status("job").times[state])) for state in way]
    assert story.states == expected
    assert unfit(read(tmp_path)) == []
    assert (told(tmp_path).states, told(tmp_path).doubled) == ({"done": 1, "hangs": 1}, 0)


def test_a_job_that_ends_twice_is_doubled_though_its_hash_shows_one_state(to: Connections, tmp_path: Path) -> None:
    to.redis.hset("maskq:job:job", "state", "done")
    until(lambda: len(unfit(read(tmp_path))) == 1)
    assert told(tmp_path).doubled == 1


def test_a_job_that_goes_on_after_its_end_or_ends_otherwise_is_unfit(to: Connections, tmp_path: Path) -> None:
    to.redis.hset("maskq:job:job", "state", "embedded")
    to.ledger.create("other", JobSpec(), None)
    to.ledger.cancel("other")
    until(lambda: len(unfit(read(tmp_path))) == 2)


def test_two_different_results_of_one_job_are_told_apart(to: Connections, tmp_path: Path) -> None:
    to.store.put("job", Payload.LABELS, b"one")
    to.store.put("job", Payload.LABELS, b"one")
    until(lambda: len(read(tmp_path)["job"].labels) == 2)
    assert unfit(read(tmp_path)) == []
    to.store.put("job", Payload.LABELS, b"another")
    until(lambda: len(unfit(read(tmp_path))) == 1)
