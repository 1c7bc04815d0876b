"""What is done over and over in the background: at once, again after an error, and no more once it is stopped."""

from __future__ import annotations

import logging
import threading

import pytest

from maskq.tasks.periodic import PeriodicThread
from tests.conftest import until


def test_the_first_round_is_at_once_and_the_others_follow() -> None:
    rounds: list[str] = []
    every = PeriodicThread(0.01, lambda: rounds.append(threading.current_thread().name), "rounds")
    every.start()
    until(lambda: len(rounds) >= 3)
    every.stop()
    assert set(rounds) == {"rounds"}


def test_a_round_that_raises_is_told_and_the_next_one_tries_again(caplog: pytest.LogCaptureFixture) -> None:
    rounds: list[int] = []

    def fail() -> None:
        rounds.append(1)
        raise OSError("the broker is away")

    every = PeriodicThread(0.01, fail, "rounds", logging.WARNING)
    every.start()
    until(lambda: len(rounds) >= 2)
    every.stop()
    assert {(record.levelname, record.getMessage()) for record in caplog.records} == {
        ("WARNING", "rounds: the broker is away")
    }


def test_it_stops_when_the_round_under_way_is_over_however_long_the_pause() -> None:
    begun, go_on, done = threading.Event(), threading.Event(), []

    def once() -> None:
        begun.set()
        go_on.wait(20)
        done.append(1)

    every = PeriodicThread(3600, once, "rounds")
    every.start()
    assert begun.wait(20)
    stopping = threading.Thread(target=every.stop)
    stopping.start()
    stopping.join(0.05)
    assert stopping.is_alive() and not done
    go_on.set()
    stopping.join(20)
    assert not stopping.is_alive() and done == [1]


def test_what_was_never_started_can_be_stopped() -> None:
    PeriodicThread(3600, lambda: None, "rounds").stop()
