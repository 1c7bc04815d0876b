"""How a worker process leaves: it finishes what it has in hand, and what it can't finish in time it hands back.

The first SIGTERM begins Celery's warm shutdown. When most of the grace period is over, or at a second SIGTERM, the jobs
still in hand go back to the queue as if they had not been begun, and the process ends.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Callable

from celery.signals import worker_shutting_down

log = logging.getLogger(__name__)

#: The part of the grace period that work may go on for, and the part by which the process ends though it could not hand
#: back, its broker being away: before the supervisor kills it.
_PART, _LAST = 0.8, 0.95
#: Asks a forked process to hand back and end. Not SIGTERM: that is how Celery ends one that has taken too long.
HAND_BACK = signal.SIGUSR2


def leave_within(grace_s: float, hand_back: Callable[[], None]) -> None:
    """From the first SIGTERM on, give this process's Celery worker `grace_s` seconds."""
    began = threading.Lock()

    def end() -> None:
        last = threading.Timer((_LAST - _PART) * grace_s, os._exit, (1,))
        last.daemon = True
        last.start()
        _hand_back_and_end(hand_back)

    def shutting_down(**_: object) -> None:
        if began.acquire(blocking=False):
            later = threading.Timer(_PART * grace_s, end)
            later.daemon = True
            later.start()
        else:  # here and now: what Celery does at a second signal ends the process before a thread is through
            end()

    worker_shutting_down.connect(shutting_down, weak=False)


def hand_back_when_asked(hand_back: Callable[[], None]) -> None:
    """For a forked process, in its main thread: at `HAND_BACK`, hand back and end. A thread sees to that, for the main
    one may be in code that looks at no signals.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, {HAND_BACK})

    def wait() -> None:
        signal.sigwait({HAND_BACK})
        _hand_back_and_end(hand_back)

    threading.Thread(target=wait, name="parting", daemon=True).start()


def _hand_back_and_end(hand_back: Callable[[], None]) -> None:
    try:
        hand_back()
    except Exception as error:  # the broker is away: the leases run out by themselves
        log.warning("what this process has in hand could not be handed back: %s", error)
    finally:
        os._exit(0)


def ask_to_hand_back(pids: list[int], within_s: float = 2.0) -> None:
    """Have forked processes hand back and end; returns when they have, or after `within_s` seconds."""
    for pid in pids:
        try:
            os.kill(pid, HAND_BACK)
        except ProcessLookupError:
            continue
    over = threading.Event()
    for _ in range(round(within_s / 0.05)):
        if not any(_lives(pid) for pid in pids):
            return
        over.wait(0.05)


def _lives(pid: int) -> bool:
    """Whether a child runs; one that has ended and was not waited for does not."""
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
    except ChildProcessError:
        return False
