"""The Celery consumer of maskq's workers: survives its broker's failures, and batches task events.

The failures: restarts, refused connections, a full or read-only Redis. Celery publishes task events (received, started,
succeeded) at the next turn of its event loop. Under load that is one message for nearly every event, and took a quarter
of the time of the process that feeds the CPU workers.
"""

import logging
import threading
from functools import partial
from typing import Any

from celery.bootsteps import RUN
from celery.worker.consumer import Consumer
from celery.worker.state import active_requests

from .shutdown import exit_after

log = logging.getLogger(__name__)

#: Seconds between batches of events: the delay with which Flower may show one.
_FLUSH_S = 0.2
#: Back-off between connection attempts, seconds: first, increment, maximum. Celery's own grows to 30 s of idling.
_FIRST_S, _STEP_S, _MAX_S = 0.25, 0.25, 2.0
#: Time to publish that jobs were returned, seconds.
_ANNOUNCE_S = 1.0
#: Time for the shutdown of a worker that failed, seconds; Celery's shutdown of forked processes may block forever.
_SHUTDOWN_S = 15.0


class ReconnectingConsumer(Consumer):  # type: ignore[misc]
    """Reconnects soon and without limit; any other failure ends the process, for its supervisor to restart."""

    connection_errors: tuple[type[BaseException], ...]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # kombu raises AttributeError if a task that outlived its connection is acknowledged. The ledger has its result.
        self.connection_errors = (*self.connection_errors, AttributeError)
        if self.hub:
            self.hub.call_repeatedly(_FLUSH_S, self._flush_events)

    def on_send_event_buffered(self) -> None:
        """Don't flush here, as Celery does for each event: the timer does, until the shutdown ends the event loop."""
        if self.blueprint.state != RUN:
            self._flush_events()

    def shutdown(self) -> None:
        """Publish the last events, then shut down as Celery does."""
        self._flush_events()
        super().shutdown()

    def announce_returned(self) -> None:
        """Publish that the tasks in hand are back in their queue, since this process is about to be ended.

        In a thread with a time limit: this one may have been interrupted while it published events.
        """
        thread = threading.Thread(target=self._announce_returned, daemon=True)
        thread.start()
        thread.join(_ANNOUNCE_S)

    def _announce_returned(self) -> None:
        for request in tuple(active_requests):
            request.send_event("task-retried", exception="returned to the queue at shutdown", traceback="")
        self._flush_events()

    def start(self) -> None:
        """Consume until shutdown. After an exception the process exits within 15 s, whatever Celery's shutdown does."""
        try:
            super().start()
        except Exception:
            exit_after(_SHUTDOWN_S, 70)
            raise

    def ensure_connected(self, conn: Any) -> Any:
        """Connect as Celery does, with a shorter back-off."""
        conn.ensure_connection = partial(
            conn.ensure_connection, interval_start=_FIRST_S, interval_step=_STEP_S, interval_max=_MAX_S
        )
        return super().ensure_connected(conn)

    def on_connection_error_after_connected(self, error: Exception) -> None:
        """Close the lost connection.

        kombu may raise `AttributeError` here, when it puts messages back over the connection that it has just closed.
        That must not end the worker: the ledger sends those messages again.
        """
        try:
            super().on_connection_error_after_connected(error)
        except Exception as closing_error:
            log.warning("closing the lost connection failed: %r", closing_error)
