"""The supervisor, over processes that do nothing but live and die."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from maskq.workers.supervision.supervisor import CrashLoop, Program, Supervisor
from tests.conftest import processes, until

#: Says that it is ready; half a second after SIGTERM it says whether a `sleep` beside it lives, and ends.
LEANING = """
import psutil, signal, sys, threading
from maskq.workers.supervision.heartbeat import Heartbeat

def leave(*_):
    threading.Event().wait(0.5)
    beside = psutil.Process().parent().children()
    alive = any(p.name() == "sleep" and p.status() != "zombie" for p in beside)
    print("alive" if alive else "gone", flush=True)
    sys.exit()

signal.signal(signal.SIGTERM, leave)
link = Heartbeat(5)
link.ready()
while True:
    signal.pause()
"""

#: Says that it is ready, and then that it is well, or, with an argument, nothing more.
BEATING = """
import sys, signal
from maskq.workers.supervision.heartbeat import Heartbeat

Heartbeat(5).ready(lambda: "stuck" if sys.argv[1:] else None)
while True:
    signal.pause()
"""


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[Supervisor]:
    made = Supervisor(tmp_path)
    yield made
    made.stop(grace_s=5)


def sleeper(seconds: str) -> Program:
    return Program("sleeper", ("sleep", seconds), linked=False)


def test_what_dies_is_started_again(supervisor: Supervisor) -> None:
    supervisor.start(sleeper("601"))
    (first,) = until(lambda: processes("601"))
    first.kill()
    until(lambda: processes("601") - {first})
    assert supervisor.error is None


def test_what_falls_silent_is_killed_and_started_again(supervisor: Supervisor, tmp_path: Path) -> None:
    supervisor.start(Program("stuck", (sys.executable, "-c", BEATING, "605"), heartbeat_s=1.5))
    supervisor.wait_ready(30)
    (first,) = processes("605")
    until(lambda: processes("605") - {first})
    assert "stuck" in (tmp_path / "stuck.log").read_text()


def test_what_stands_still_is_killed_and_started_again_and_what_beats_is_not(supervisor: Supervisor) -> None:
    supervisor.start(Program("beating", (sys.executable, "-c", BEATING), heartbeat_s=2.5))
    supervisor.wait_ready(30)
    (first,) = processes(BEATING)
    time.sleep(4)
    assert processes(BEATING) == {first}
    first.suspend()
    until(lambda: processes(BEATING) - {first})
    supervisor.wait_ready(30)
    assert first not in processes(BEATING)


def test_what_keeps_dying_is_given_up_with_its_last_words(tmp_path: Path) -> None:
    given_up: list[bool] = []
    supervisor = Supervisor(tmp_path, on_crash_loop=lambda: given_up.append(True))
    supervisor.start(Program("broken", (sys.executable, "-c", "raise SystemExit('no driver')")))
    with pytest.raises(CrashLoop, match="broken died 5 times .exit 1.\n(.*\n)*no driver"):
        supervisor.wait_ready(timeout_s=30)
    supervisor.stop(grace_s=5)
    assert given_up == [True]


def test_what_is_not_ready_in_time_is_named(supervisor: Supervisor) -> None:
    supervisor.start(Program("slow", ("sleep", "602")))
    with pytest.raises(TimeoutError, match=r"not ready after 0\.1 s: slow"):
        supervisor.wait_ready(timeout_s=0.1)


@pytest.mark.parametrize("restarted", [False, True])
def test_what_the_workers_lean_on_goes_after_them(tmp_path: Path, restarted: bool) -> None:
    supervisor = Supervisor(tmp_path)
    supervisor.start(sleeper("603"))
    (first,) = until(lambda: processes("603"))
    if restarted:
        first.kill()
        until(lambda: processes("603") - {first})
    supervisor.start(Program("leaning", (sys.executable, "-c", LEANING)))
    supervisor.wait_ready(30)
    supervisor.stop(grace_s=20)
    assert (tmp_path / "leaning.log").read_text() == "alive\n"
    assert not processes("603")


def test_what_ignores_the_request_is_killed(tmp_path: Path) -> None:
    supervisor = Supervisor(tmp_path)
    supervisor.start(Program("deaf", ("sh", "-c", "trap '' TERM; echo deaf; sleep 604; sleep 604"), linked=False))
    until(lambda: (tmp_path / "deaf.log").read_text())
    supervisor.stop(grace_s=0.2)
    assert not processes("604")
