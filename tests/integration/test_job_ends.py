"""Every end of a job passes the hooks, whatever ended it and whoever crashes meanwhile."""

from __future__ import annotations

import threading

import pytest
from redis import Redis

from maskq.producer.schema import Failure, JobSpec, Limits, Stage, State
from maskq.producer.state.ledger import Claim, JobEnd, Ledger
from maskq.tasks.job_ends import HOOKS
from maskq.tasks.job_ends.dispatcher import Dispatcher
from maskq.tasks.job_ends.log_line import log_line
from tests.conftest import until


@pytest.fixture
def ledger(redis: Redis) -> Ledger:
    return Ledger(redis, max_attempts=1)


def end_every_way(ledger: Ledger) -> None:
    """One job for each way to end."""
    for job_id in ("done", "failed", "cancelled", "dead"):
        ledger.create(job_id, JobSpec(), None)
    ledger.create("expired", JobSpec(limits=Limits(expires_s=1e-6)), None)
    for stage in Stage:
        ledger.claim(Claim("done", stage, "a"))
        ledger.finish(Claim("done", stage, "a"))
    ledger.claim(Claim("failed", Stage.EMBED, "a"))
    ledger.fail(Claim("failed", Stage.EMBED, "a"), Failure(type="NotAnImage", message=""))
    ledger.cancel("cancelled")
    ledger.claim(Claim("dead", Stage.EMBED, "a"))
    ledger.release(Claim("dead", Stage.EMBED, "a"), "MemoryError")
    assert list(ledger.expire_overdue()) == ["expired"]


def test_each_end_comes_once_with_its_state_and_time(redis: Redis, ledger: Ledger) -> None:
    end_every_way(ledger)
    ends: list[JobEnd] = []
    dispatcher = Dispatcher(redis, ledger, [lambda end, _: ends.append(end)])
    assert dispatcher.run_round() == 5
    assert {(end.job_id, end.state) for end in ends} == {(state, state) for state in State if state.ended}
    assert all(abs(end.time - ledger.status(end.job_id).times[end.state]) < 1 for end in ends)
    assert dispatcher.run_round() == 0


def test_an_end_whose_dispatcher_died_comes_again(redis: Redis, ledger: Ledger) -> None:
    end_every_way(ledger)

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Dispatcher(redis, ledger, [die]).run_round()
    assert Dispatcher(redis, ledger, []).run_round() == 5


def test_a_hook_that_raises_keeps_no_other_from_its_call(redis: Redis, ledger: Ledger) -> None:
    ledger.create("job", JobSpec(), None)
    ledger.cancel("job")
    ends: list[JobEnd] = []

    def broken(*_: object) -> None:
        raise ValueError("no such host")

    assert Dispatcher(redis, ledger, [broken, lambda end, _: ends.append(end)]).run_round() == 1
    assert [end.job_id for end in ends] == ["job"]


def test_ends_are_dispatched_in_the_background_by_one_process_at_a_time(redis: Redis, ledger: Ledger) -> None:
    ends: list[JobEnd] = []
    dispatchers = [Dispatcher(redis, ledger, [lambda end, _: ends.append(end)]) for _ in range(3)]
    for dispatcher in dispatchers:
        dispatcher.start()
    for n in range(50):
        ledger.create(f"job{n}", JobSpec(), None)
        ledger.cancel(f"job{n}")
    until(lambda: len(ends) >= 50)
    for dispatcher in dispatchers:
        dispatcher.stop()
    assert sorted(end.job_id for end in ends) == sorted(f"job{n}" for n in range(50))
    assert (redis.xlen("maskq:endings"), redis.exists("maskq:dispatcher")) == (0, 0)


def test_the_outbox_is_bounded(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("maskq.producer.state.keys.MAX_ENDINGS", 200)
    ledger = Ledger(redis)
    for n in range(1000):
        ledger.create(f"job{n}", JobSpec(), None)
        ledger.cancel(f"job{n}")
    assert 200 <= redis.xlen("maskq:endings") <= 400


def test_slow_hooks_run_in_one_process_at_a_time_while_the_lock_is_renewed(
    redis: Redis, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("maskq.tasks.job_ends.dispatcher._LOCK_S", 2.0)
    running, most = [0], [0]

    def slow(*_: object) -> None:
        running[0] += 1
        most[0] = max(most[0], running[0])
        threading.Event().wait(0.01)
        running[0] -= 1

    for n in range(250):
        ledger.create(f"job{n}", JobSpec(), None)
        ledger.cancel(f"job{n}")
    dispatchers = [Dispatcher(redis, ledger, [slow]) for _ in range(4)]
    for dispatcher in dispatchers:
        dispatcher.start()
    until(lambda: redis.xlen("maskq:endings") == 0)
    for dispatcher in dispatchers:
        dispatcher.stop()
    assert most == [1]


def test_an_entry_that_cannot_be_read_is_logged_and_removed(
    redis: Redis, ledger: Ledger, caplog: pytest.LogCaptureFixture
) -> None:
    redis.xadd("maskq:endings", {"job_id": "x", "state": "archived"})
    ledger.create("job", JobSpec(), None)
    ledger.cancel("job")
    ends: list[JobEnd] = []
    assert Dispatcher(redis, ledger, [lambda end, _: ends.append(end)]).run_round() == 1
    assert [end.job_id for end in ends] == ["job"] and redis.xlen("maskq:endings") == 0
    assert "archived" in caplog.text


def test_a_line_is_logged_for_each_end(ledger: Ledger, caplog: pytest.LogCaptureFixture) -> None:
    assert log_line in HOOKS
    with caplog.at_level("INFO"):
        log_line(JobEnd("1700000000000-0", "abc", State.DONE), ledger)
    assert "job abc has ended: done" in caplog.text
