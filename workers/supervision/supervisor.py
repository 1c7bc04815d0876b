"""Starts processes, restarts those that die or fall silent, stops them all."""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from .heartbeat import LINK_FD, HeartbeatMonitor, die_with_parent
from .log_files import open_log

log = logging.getLogger(__name__)

#: A process that dies this often within `_WINDOW_S` seconds is given up.
_MOST_DEATHS, _WINDOW_S = 5, 60.0
_LOOK_S, _RETRY_S = 0.05, 1.0


class CrashLoop(RuntimeError):
    """A process keeps dying; the end of its log says why."""


@dataclass(frozen=True)
class Program:
    """What to run, and under what name its log and errors show it."""

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    #: Whether it speaks over the link (ours do; redis-server does not).
    linked: bool = True
    #: One that speaks and was ready is killed and replaced after so many seconds of silence.
    heartbeat_s: float = 12.0


def python(name: str, module: str, *arguments: str, env: Mapping[str, str], heartbeat_s: float = 12.0) -> Program:
    """One of maskq's own programs. `-P` keeps the user's folder out of its import path."""
    return Program(name, (sys.executable, "-P", "-m", module, *arguments), env, heartbeat_s=heartbeat_s)


class _Process:
    """One program, the process that runs it now, and its deaths."""

    def __init__(self, program: Program, logs: Path | None) -> None:
        self.program = program
        self.deaths: deque[float] = deque(maxlen=_MOST_DEATHS)
        self.log_file = logs / f"{program.name}.log" if logs else None
        #: When it is started again; 0 while it runs.
        self.restart_at = 0.0
        self.start()

    def start(self) -> None:
        ours, theirs = socket.socketpair()
        output: IO[bytes] | None = open_log(self.log_file) if self.log_file else None
        try:
            self.popen = subprocess.Popen(
                self.program.argv,
                env={**os.environ, **self.program.env, LINK_FD: str(theirs.fileno())},
                pass_fds=(theirs.fileno(),) if self.program.linked else (),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,  # Ctrl-C is for the supervisor, which stops them in order
                preexec_fn=None if self.program.linked else die_with_parent,
            )
        finally:
            theirs.close()
            if output:
                output.close()
        self.ear = HeartbeatMonitor(ours)

    @property
    def ready(self) -> bool:
        """Whether work can come; of what does not speak, that it was started is all that is known."""
        return self.ear.ready or not (self.program.linked or self.restart_at)

    @property
    def silent(self) -> bool:
        """Whether it has said nothing for so long that it must be stuck."""
        return self.ear.ready and self.ear.silent_s > self.program.heartbeat_s

    def signal(self, number: signal.Signals) -> None:
        """To the process itself, or, to kill, to its whole session."""
        try:
            if number is signal.SIGKILL:
                os.killpg(self.popen.pid, number)
            else:
                self.popen.send_signal(number)
        except ProcessLookupError:
            return

    def last_words(self) -> str:
        if not self.log_file or not self.log_file.exists():
            return ""
        return "\n" + "\n".join(self.log_file.read_text(errors="replace").splitlines()[-15:])


class Supervisor:
    """Keeps programs running from `start` to `stop`; a thread restarts the dead, with back-off.

    A program that dies 5 times in a minute is given up: `error` says so, and `on_crash_loop` is called.
    """

    def __init__(self, logs: Path | None = None, on_crash_loop: Callable[[], None] = lambda: None) -> None:
        self._logs, self._on_crash_loop = logs, on_crash_loop
        self._processes: list[_Process] = []
        self._stopping, self._at_rest, self._over = threading.Event(), threading.Event(), threading.Event()
        self._thread: threading.Thread | None = None
        self.error: CrashLoop | None = None

    def start(self, program: Program) -> None:
        """Start a program, and watch over it from now on."""
        self._processes.append(_Process(program, self._logs))
        if self._thread is None:
            self._thread = threading.Thread(target=self._watch, name="supervisor", daemon=True)
            self._thread.start()

    def wait_ready(self, timeout_s: float, on_change: Callable[[tuple[str, ...]], None] = lambda names: None) -> None:
        """Wait until every program is ready; `on_change` gets the names of those that aren't, each time they change.

        Raises `CrashLoop` or `TimeoutError`.
        """
        deadline = time.monotonic() + timeout_s
        reported: tuple[str, ...] | None = None
        while True:
            waiting = tuple(process.program.name for process in self._processes if not process.ready)
            if waiting != reported:
                on_change(reported := waiting)
            if not waiting:
                return
            if self.error:
                raise self.error
            if time.monotonic() > deadline:
                raise TimeoutError(f"not ready after {timeout_s:g} s: {', '.join(waiting)}")
            time.sleep(_LOOK_S)

    def wait(self) -> None:
        """Until `leave` is called. Raises `CrashLoop` where a program is given up."""
        while not self._stopping.wait(0.5):
            if self.error:
                raise self.error

    def leave(self) -> None:
        """End `wait`; the second time, have the programs end at once. Safe to call from a signal handler."""
        if self._stopping.is_set():
            for process in self._processes:
                if process.program.linked:
                    process.signal(signal.SIGTERM)
        self._stopping.set()

    def stop(self, grace_s: float) -> None:
        """SIGTERM to all, last started first to go; SIGKILL to what is left after `grace_s` seconds."""
        self._stopping.set()
        if self._thread:
            self._at_rest.wait()
        for process in reversed(self._processes):
            if process.program.linked:
                process.signal(signal.SIGTERM)
        deadline = time.monotonic() + grace_s
        # What our programs lean on (redis-server) goes after them.
        for process in sorted(self._processes, key=lambda p: not p.program.linked):
            if not process.program.linked:
                process.signal(signal.SIGTERM)
            try:
                process.popen.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                log.warning("%s did not stop in %g s; killed", process.program.name, grace_s)
            process.signal(signal.SIGKILL)
            process.popen.wait()
            process.ear.close()
        self._over.set()
        if self._thread:
            self._thread.join()

    def _watch(self) -> None:
        looked = time.monotonic()
        try:
            while not self._stopping.wait(_LOOK_S):
                before, looked = looked, time.monotonic()
                for process in self._processes:
                    self._look_at(process, looked - before)
        finally:
            self._at_rest.set()
            self._over.wait()  # a Redis that this thread has started anew would end with it, before the workers

    def _look_at(self, process: _Process, passed_s: float) -> None:
        if process.restart_at:
            if time.monotonic() >= process.restart_at:
                self._restart(process)
        elif process.popen.poll() is not None:
            self._bury(process)
        elif process.program.linked:
            process.ear.listen(passed_s)
            if process.silent:
                log.warning("%s has been silent for %g s; killed", process.program.name, process.program.heartbeat_s)
                process.signal(signal.SIGKILL)  # a driver that is stuck may keep it a while: not waited for
                process.ear.silent_s = 0.0

    def _restart(self, process: _Process) -> None:
        try:
            process.start()
        except OSError as error:  # no memory or descriptors left, for now
            log.warning("could not start %s: %s", process.program.name, error)
            process.restart_at = time.monotonic() + _RETRY_S
        else:
            process.restart_at = 0.0

    def _bury(self, process: _Process) -> None:
        now = time.monotonic()
        process.signal(signal.SIGKILL)  # what it leaves of its session
        process.ear.close()
        process.deaths.append(now)
        name, status = process.program.name, process.popen.returncode
        if len(process.deaths) == _MOST_DEATHS and now - process.deaths[0] < _WINDOW_S:
            self.error = CrashLoop(f"{name} died {_MOST_DEATHS} times (exit {status}){process.last_words()}")
            process.restart_at = float("inf")
            self._on_crash_loop()
            return
        recent = sum(now - death < _WINDOW_S for death in process.deaths)
        delay = 0.25 * 2 ** (recent - 1)
        log.warning("%s ended with exit %s; started again in %g s", name, status, delay)
        process.restart_at = now + delay
