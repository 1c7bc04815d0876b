"""The supervisor, with processes that only live and die."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from maskq.workers.supervision.process import Program
from maskq.workers.supervision.supervisor import CrashLoop, Supervisor
from tests.conftest import processes, until

#: Reports ready; half a second after SIGTERM it prints whether its sibling `sleep` is alive, and exits.
DEPENDENT = """
import psutil, signal, sys, threading
from maskq.workers.supervision.heartbeat import Heartbeat

def stop(*_):
    threading.Event().wait(0.5)
    siblings = psutil.Process().parent().children()
    alive = any(p.name() == "sleep" and p.status() != "zombie" for p in siblings)
    print("alive" if alive else "gone", flush=True)
    sys.exit()

signal.signal(signal.SIGTERM, stop)
Heartbeat(5).ready()
while True:
    signal.pause()
"""

#: Reports ready, and then sends heartbeats; with an argument it reports that it is unhealthy.
BEATING = """
import sys, signal
from maskq.workers.supervision.heartbeat import Heartbeat

Heartbeat(5).ready(lambda: "stuck" if sys.argv[1:] else None)
while True:
    signal.pause()
"""


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[Supervisor]:
    supervisor = Supervisor(tmp_path)
    yield supervisor
    supervisor.stop(grace_s=5)


def sleeper(seconds: str) -> Program:
    return Program("sleeper", ("sleep", seconds), has_heartbeat=False)


def test_a_killed_process_is_restarted(supervisor: Supervisor) -> None:
    supervisor.start(sleeper("601"))
    (first,) = until(lambda: processes("601"))
    first.kill()
    until(lambda: processes("601") - {first})
    assert supervisor.error is None


def test_an_unhealthy_process_is_killed_and_restarted(supervisor: Supervisor, tmp_path: Path) -> None:
    supervisor.start(Program("stuck", (sys.executable, "-c", BEATING, "605"), heartbeat_s=1.5))
    supervisor.wait_ready(30)
    (first,) = processes("605")
    until(lambda: processes("605") - {first})
    assert "stuck" in (tmp_path / "stuck.log").read_text()


def test_a_suspended_process_is_killed_and_restarted_and_one_that_beats_is_not(supervisor: Supervisor) -> None:
    supervisor.start(Program("beating", (sys.executable, "-c", BEATING), heartbeat_s=2.5))
    supervisor.wait_ready(30)
    (first,) = processes(BEATING)
    time.sleep(4)
    assert processes(BEATING) == {first}
    first.suspend()
    until(lambda: processes(BEATING) - {first})
    supervisor.wait_ready(30)
    assert first not in processes(BEATING)


def test_a_crash_loop_is_given_up_with_the_end_of_its_log(tmp_path: Path) -> None:
    given_up: list[bool] = []
    supervisor = Supervisor(tmp_path, on_crash_loop=lambda: given_up.append(True))
    supervisor.start(Program("broken", (sys.executable, "-c", "raise SystemExit('no driver')")))
    with pytest.raises(CrashLoop, match="broken died 5 times .exit 1.\n(.*\n)*no driver"):
        supervisor.wait_ready(timeout_s=30)
    supervisor.stop(grace_s=5)
    assert given_up == [True]


def test_a_process_that_is_not_ready_in_time_is_named(supervisor: Supervisor) -> None:
    supervisor.start(Program("slow", ("sleep", "602")))
    with pytest.raises(TimeoutError, match=r"not ready after 0\.1 s: slow"):
        supervisor.wait_ready(timeout_s=0.1)


@pytest.mark.parametrize("restarted", [False, True])
def test_redis_stops_after_the_processes_that_depend_on_it(tmp_path: Path, restarted: bool) -> None:
    supervisor = Supervisor(tmp_path)
    supervisor.start(sleeper("603"))
    (first,) = until(lambda: processes("603"))
    if restarted:
        first.kill()
        until(lambda: processes("603") - {first})
    supervisor.start(Program("dependent", (sys.executable, "-c", DEPENDENT)))
    supervisor.wait_ready(30)
    supervisor.stop(grace_s=20)
    assert (tmp_path / "dependent.log").read_text() == "alive\n"
    assert not processes("603")


def test_a_process_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    supervisor = Supervisor(tmp_path)
    supervisor.start(
        Program("deaf", ("sh", "-c", "trap '' TERM; echo deaf; sleep 604; sleep 604"), has_heartbeat=False)
    )
    until(lambda: (tmp_path / "deaf.log").read_text())
    supervisor.stop(grace_s=0.2)
    assert not processes("604")
