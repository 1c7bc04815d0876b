"""A Celery consumer that gets over whatever its broker does: restarts, refuses, is full or may not be written to."""

from __future__ import annotations

import logging
import os
import threading
from functools import partial
from typing import Any

from .event_batching import EventBatchingConsumer

log = logging.getLogger(__name__)

#: Seconds between tries to connect: a little longer each time. Celery's own grow to 30, which a worker then lies idle.
_FIRST_S, _STEP_S, _MOST_S = 0.25, 0.25, 2.0
#: A worker that can't go on is given so long to end; Celery's shutdown of forked processes may wait for ever.
_PARTING_S = 15.0


class ReconnectingConsumer(EventBatchingConsumer):
    """Connects again soon, and as often as it takes; where that is no help, its process ends."""

    connection_errors: tuple[type[BaseException], ...]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # What kombu raises where a task that outlived its connection is acknowledged; the ledger knows how it ended.
        self.connection_errors = (*self.connection_errors, AttributeError)

    def start(self) -> None:
        """Consume until told to stop. Whatever is raised is the worker's end, which must not be waited for."""
        try:
            super().start()
        except Exception:
            ending = threading.Timer(_PARTING_S, os._exit, (70,))
            ending.daemon = True
            ending.start()
            raise

    def ensure_connected(self, conn: Any) -> Any:
        """Celery's, with other pauses."""
        conn.ensure_connection = partial(
            conn.ensure_connection, interval_start=_FIRST_S, interval_step=_STEP_S, interval_max=_MOST_S
        )
        return super().ensure_connected(conn)

    def on_connection_error_after_connected(self, error: Exception) -> None:
        """Let go of the old connection. What kombu raises over that (an `AttributeError`, where it would put back
        messages over the connection that it has just let go of) must not end the worker: the ledger sends them again.
        """
        try:
            super().on_connection_error_after_connected(error)
        except Exception as also:
            log.warning("the lost connection could not be put away: %r", also)
