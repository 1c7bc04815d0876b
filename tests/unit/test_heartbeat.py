"""The heartbeat between a process and its supervisor, with both ends in one process."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from functools import partial

import pytest

from maskq.workers.supervision import heartbeat
from maskq.workers.supervision.heartbeat import HEARTBEAT_FD, Heartbeat, HeartbeatMonitor
from tests.conftest import until


@pytest.fixture
def ends(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[HeartbeatMonitor, Heartbeat]]:
    supervisor_end, process_end = socket.socketpair()
    monkeypatch.setattr(heartbeat, "_INTERVAL_S", 0.05)
    monkeypatch.setattr(os, "kill", lambda *_: None)
    monkeypatch.setattr(os, "_exit", lambda *_: None)
    monkeypatch.setenv(HEARTBEAT_FD, str(process_end.detach()))
    monitor, before = HeartbeatMonitor(supervisor_end), set(threading.enumerate())
    process = Heartbeat(grace_s=0)
    yield monitor, process
    monitor.close()
    for thread in set(threading.enumerate()) - before:
        if thread.name == "heartbeat":  # after the patches are undone it would end this process
            thread.join()
    assert process._socket
    process._socket.close()


def is_ready(monitor: HeartbeatMonitor) -> bool:
    monitor.poll(0)
    return monitor.ready


def is_heard(monitor: HeartbeatMonitor) -> bool:
    monitor.poll(0)
    return monitor.silent_s == 0


def test_a_process_reports_ready_and_then_beats(ends: tuple[HeartbeatMonitor, Heartbeat]) -> None:
    monitor, process = ends
    monitor.poll(1)
    assert (monitor.ready, monitor.silent_s) == (False, 0.05)
    process.ready()
    until(partial(is_ready, monitor))
    for _ in range(5):
        monitor.silent_s = 1.0
        until(partial(is_heard, monitor))


def test_an_unhealthy_process_is_silent(
    ends: tuple[HeartbeatMonitor, Heartbeat], caplog: pytest.LogCaptureFixture
) -> None:
    monitor, process = ends
    process.ready(lambda: "its device is gone")
    until(lambda: "its device is gone" in caplog.text)
    until(partial(is_ready, monitor))
    monitor.poll(0.03)
    monitor.poll(0.04)
    assert monitor.silent_s == pytest.approx(0.07)


def test_time_in_which_the_supervisor_slept_is_not_silence(
    ends: tuple[HeartbeatMonitor, Heartbeat],
) -> None:
    monitor, _ = ends
    monitor.poll(3600)
    assert monitor.silent_s == 0.05


def test_an_ended_process_is_not_ready(ends: tuple[HeartbeatMonitor, Heartbeat]) -> None:
    monitor, process = ends
    process.ready()
    until(partial(is_ready, monitor))
    monitor.close()
    assert not monitor.ready


def test_an_unhealthy_process_without_a_supervisor_exits(monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[int] = []
    monkeypatch.setattr(os, "_exit", ended.append)
    monkeypatch.delenv(HEARTBEAT_FD, raising=False)
    Heartbeat(grace_s=0).ready(lambda: "its device is gone")
    until(lambda: ended == [heartbeat.EXIT_UNHEALTHY])


def test_a_supervisor_that_dies_with_beats_unread_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The dead supervisor's end of the socket is reset, not closed, because beats are unread."""
    supervisor_end, process_end = socket.socketpair()
    ended = threading.Event()
    monkeypatch.setenv(HEARTBEAT_FD, str(process_end.detach()))
    monkeypatch.setattr(os, "kill", lambda *_: None)
    monkeypatch.setattr(os, "_exit", lambda _: ended.set())
    Heartbeat(grace_s=0.01).ready()
    supervisor_end.close()
    assert ended.wait(20)
