"""Graceful shutdown of a worker process: unfinished jobs return to their queue before the grace period ends.

The first SIGTERM begins Celery's warm shutdown: running tasks go on. After 80 % of the grace period, or at a second
SIGTERM (Celery's cold shutdown), the jobs still in hand return to the queue as if they had not begun, and the process
ends.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Callable

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
        forced_exit = threading.Timer((_EXIT_PART - _WORK_PART) * grace_s, os._exit, (1,))
        forced_exit.daemon = True
        forced_exit.start()
        _return_and_exit(return_jobs)

    def shutting_down(**_: object) -> None:
        if begun.acquire(blocking=False):
            deadline = threading.Timer(_WORK_PART * grace_s, give_up)
            deadline.daemon = True
            deadline.start()
        else:  # in this thread: Celery's cold shutdown ends the process before another thread could finish
            give_up()

    worker_shutting_down.connect(shutting_down, weak=False)


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


def signal_return_jobs(pids: list[int], timeout_s: float = 2.0) -> None:
    """Have forked processes return their jobs and exit. Returns when all have ended, or after `timeout_s` seconds."""
    for pid in pids:
        try:
            os.kill(pid, RETURN_JOBS)
        except ProcessLookupError:
            continue
    pause = threading.Event()
    for _ in range(round(timeout_s / 0.05)):
        if not any(_is_running(pid) for pid in pids):
            return
        pause.wait(0.05)


def _is_running(pid: int) -> bool:
    """Whether a child process is running; False for one that ended, even if it has not been waited for."""
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
    except ChildProcessError:
        return False
