"""The link between a process and the supervisor, both ends in one process."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator

import pytest

from maskq.workers.supervision import heartbeat as link
from maskq.workers.supervision.heartbeat import LINK_FD, Heartbeat, HeartbeatMonitor
from tests.conftest import until


@pytest.fixture
def ends(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[HeartbeatMonitor, Heartbeat]]:
    ours, theirs = socket.socketpair()
    monkeypatch.setattr(link, "_EVERY_S", 0.05)
    monkeypatch.setattr(os, "kill", lambda *_: None)
    monkeypatch.setattr(os, "_exit", lambda *_: None)
    monkeypatch.setenv(LINK_FD, str(theirs.detach()))
    ear, others = HeartbeatMonitor(ours), set(threading.enumerate())
    process = Heartbeat(grace_s=0)
    yield ear, process
    ear.close()
    for thread in set(threading.enumerate()) - others:
        if thread.name == "link":  # which ends this process, were it not for the patches
            thread.join()
    assert process._socket
    process._socket.close()


def test_a_process_is_ready_when_it_says_so_and_then_beats(ends: tuple[HeartbeatMonitor, Heartbeat]) -> None:
    ear, process = ends
    ear.listen(1)
    assert (ear.ready, ear.silent_s) == (False, 0.05)
    process.ready()
    until(lambda: ear.listen(0) or ear.ready)
    for _ in range(5):
        ear.silent_s = 1.0
        until(lambda: ear.listen(0) or ear.silent_s == 0)


def test_a_process_in_trouble_is_silent(
    ends: tuple[HeartbeatMonitor, Heartbeat], caplog: pytest.LogCaptureFixture
) -> None:
    ear, process = ends
    process.ready(lambda: "its device is gone")
    until(lambda: "its device is gone" in caplog.text)
    until(lambda: ear.listen(0) or ear.ready)
    ear.listen(0.03)
    ear.listen(0.04)
    assert ear.silent_s == pytest.approx(0.07)


def test_the_time_that_the_listener_itself_slept_is_not_the_processs_silence(
    ends: tuple[HeartbeatMonitor, Heartbeat],
) -> None:
    ear, _ = ends
    ear.listen(3600)
    assert ear.silent_s == 0.05


def test_who_is_gone_is_not_ready(ends: tuple[HeartbeatMonitor, Heartbeat]) -> None:
    ear, process = ends
    process.ready()
    until(lambda: ear.listen(0) or ear.ready)
    ear.close()
    assert not ear.ready


def test_a_process_in_trouble_that_no_one_watches_ends_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[int] = []
    monkeypatch.setattr(os, "_exit", ended.append)
    monkeypatch.delenv(LINK_FD, raising=False)
    Heartbeat(grace_s=0).ready(lambda: "its device is gone")
    until(lambda: ended == [link.LOST])


def test_a_supervisor_that_goes_with_beats_unread_is_gone_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its end of the socket is reset then, not closed."""
    ours, theirs = socket.socketpair()
    ended = threading.Event()
    monkeypatch.setenv(LINK_FD, str(theirs.detach()))
    monkeypatch.setattr(os, "kill", lambda *_: None)
    monkeypatch.setattr(os, "_exit", lambda _: ended.set())
    link = Heartbeat(grace_s=0.01)
    link.ready()
    ours.close()
    assert ended.wait(20)
