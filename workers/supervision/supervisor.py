"""Starts processes, restarts those that end or fall silent, and stops them all."""

import logging
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

from .process import MAX_DEATHS, WINDOW_S, Process, Program

log = logging.getLogger(__name__)

_POLL_S, _RETRY_S = 0.05, 1.0


class CrashLoop(RuntimeError):
    """A process keeps ending; the message has the end of its log."""


class Supervisor:
    """Keeps programs running from `start` to `stop`; a thread restarts them with exponential back-off.

    A program that ends 5 times within a minute is given up: `error` is set, and `on_crash_loop` is called.
    """

    def __init__(self, log_dir: Path | None = None, on_crash_loop: Callable[[], None] = lambda: None) -> None:
        """The programs log to `NAME.log` in `log_dir`, or to this process's standard error."""
        self._log_dir, self._on_crash_loop = log_dir, on_crash_loop
        self._processes: list[Process] = []
        # A stop was requested; nothing is restarted any more; every process has ended.
        self._stopping, self._no_restarts, self._stopped = threading.Event(), threading.Event(), threading.Event()
        self._thread: threading.Thread | None = None
        self.error: CrashLoop | None = None

    def start(self, program: Program) -> None:
        """Start a program and supervise it."""
        self._processes.append(Process(program, self._log_dir))
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
            time.sleep(_POLL_S)

    def wait(self) -> None:
        """Wait until `request_stop` is called. Raises `CrashLoop` if a program is given up."""
        while not self._stopping.wait(0.5):
            if self.error:
                raise self.error

    def request_stop(self) -> None:
        """End `wait`. The second call has the programs end at once. Safe to call from a signal handler."""
        if self._stopping.is_set():
            self._terminate_workers()
        self._stopping.set()

    def stop(self, grace_s: float) -> None:
        """Send SIGTERM to all, in reverse order of their start, and SIGKILL to those left after `grace_s` seconds."""
        self._stopping.set()
        if self._thread:
            self._no_restarts.wait()
        self._terminate_workers()
        deadline = time.monotonic() + grace_s
        # maskq's programs depend on those without a heartbeat (redis-server), which therefore end after them.
        for process in sorted(self._processes, key=lambda p: not p.program.has_heartbeat):
            if not process.program.has_heartbeat:
                process.signal(signal.SIGTERM)
            try:
                process.popen.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                log.warning("%s did not stop in %g s; killed", process.program.name, grace_s)
            process.signal(signal.SIGKILL)
            process.popen.wait()
            process.monitor.close()
        self._stopped.set()
        if self._thread:
            self._thread.join()

    def _terminate_workers(self) -> None:
        for process in reversed(self._processes):
            if process.program.has_heartbeat:
                process.signal(signal.SIGTERM)

    def _watch(self) -> None:
        now = time.monotonic()
        try:
            while not self._stopping.wait(_POLL_S):
                before, now = now, time.monotonic()
                for process in self._processes:
                    self._check(process, now - before)
        finally:
            self._no_restarts.set()
            # A Redis that this thread restarted gets its parent-death signal when this thread ends: before the workers
            # end, unless this thread waits.
            self._stopped.wait()

    def _check(self, process: Process, elapsed_s: float) -> None:
        if process.restart_at:
            if time.monotonic() >= process.restart_at:
                self._restart(process)
        elif process.popen.poll() is not None:
            self._handle_exit(process)
        elif process.program.has_heartbeat:
            process.monitor.poll(elapsed_s)
            if process.silent:
                log.warning("%s has been silent for %g s; killed", process.program.name, process.program.heartbeat_s)
                process.signal(signal.SIGKILL)  # not waited for: a stuck driver may delay its end
                process.monitor.silent_s = 0.0

    def _restart(self, process: Process) -> None:
        try:
            process.start()
        except OSError as error:  # out of memory or file descriptors, for now
            log.warning("could not start %s: %s", process.program.name, error)
            process.restart_at = time.monotonic() + _RETRY_S
        else:
            process.restart_at = 0.0

    def _handle_exit(self, process: Process) -> None:
        """Schedule the restart of a process that has ended, or give its program up."""
        now = time.monotonic()
        process.signal(signal.SIGKILL)  # ends what is left of its session
        process.monitor.close()
        process.deaths.append(now)
        name, status = process.program.name, process.popen.returncode
        if len(process.deaths) == MAX_DEATHS and now - process.deaths[0] < WINDOW_S:
            self.error = CrashLoop(f"{name} died {MAX_DEATHS} times (exit {status}){process.log_tail()}")
            process.restart_at = float("inf")
            self._on_crash_loop()
            return
        recent = sum(now - death < WINDOW_S for death in process.deaths)
        delay_s = 0.25 * 2 ** (recent - 1)
        log.warning("%s ended with exit status %s; restarted in %g s", name, status, delay_s)
        process.restart_at = now + delay_s
