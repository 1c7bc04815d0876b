"""Graceful shutdown of a worker process: unfinished jobs return to their queue before the grace period ends.

The first SIGTERM begins Celery's warm shutdown: running tasks go on. After 80 % of the grace period, or at a second
SIGTERM (Celery's cold shutdown), the jobs still in hand return to the queue as if they had not begun, and the process
ends.
"""

import logging
import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from celery.signals import worker_shutting_down

log = logging.getLogger(__name__)

#: Parts of the grace period: when running tasks are given up, and when the process exits even if the broker is away and
#: no job could be returned. The supervisor sends SIGKILL at 1.
_WORK_PART, _EXIT_PART = 0.8, 0.95
#: Has a forked process return its jobs and exit. Not SIGTERM: Celery ends a task over its time limit with that.
RETURN_JOBS = signal.SIGUSR2


def limit_shutdown(grace_s: float, return_jobs: Callable[[], None]) -> None:
    """Have this process's Celery worker end within `grace_s` seconds of the first SIGTERM."""
    begun = threading.Lock()

    def give_up() -> None:
        exit_after((_EXIT_PART - _WORK_PART) * grace_s, 1)
        _return_and_exit(return_jobs)

    def shutting_down(**_: object) -> None:
        if begun.acquire(blocking=False):
            _call_after(_WORK_PART * grace_s, give_up)
        else:  # in this thread: Celery's cold shutdown ends the process before another thread could finish
            give_up()

    worker_shutting_down.connect(shutting_down, weak=False)


def exit_after(seconds: float, status: int) -> None:
    """End this process after `seconds`, whatever its threads do then."""
    _call_after(seconds, partial(os._exit, status))


def _call_after(seconds: float, call: Callable[[], object]) -> None:
    timer = threading.Timer(seconds, call)
    timer.daemon = True
    timer.start()


def return_jobs_on_signal(return_jobs: Callable[[], None]) -> None:
    """Have this forked process return its jobs and exit at `RETURN_JOBS`. Call it in the main thread.

    A thread waits for the signal, since the main thread may run code that checks for none.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, {RETURN_JOBS})

    def wait() -> None:
        signal.sigwait({RETURN_JOBS})
        _return_and_exit(return_jobs)

    threading.Thread(target=wait, name="shutdown", daemon=True).start()


def _return_and_exit(return_jobs: Callable[[], None]) -> None:
    try:
        return_jobs()
    except Exception as error:  # the broker is away; the leases expire by themselves
        log.warning("could not return unfinished jobs to the queue: %s", error)
    finally:
        os._exit(0)


def signal_return_jobs(pids: list[int]) -> None:
    """Have forked processes return their jobs and exit. Returns when all have ended, or after 2 seconds."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, RETURN_JOBS)
    deadline = time.monotonic() + 2
    while any(map(_is_running, pids)) and time.monotonic() < deadline:
        time.sleep(0.05)


def _is_running(pid: int) -> bool:
    """Whether a child process is running; False for one that ended, even if it has not been waited for."""
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
    except ChildProcessError:
        return False
