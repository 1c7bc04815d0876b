"""Batches Celery's task events.

Celery publishes task events (received, started, succeeded) at the next turn of its event loop. Under load that is one
message for nearly every event, and took a quarter of the time of the process that feeds the CPU workers.
"""

from __future__ import annotations

from typing import Any

from celery.worker.consumer import Consumer

#: Seconds between batches: the delay with which Flower may show an event.
_FLUSH_S = 0.2


class EventBatchingConsumer(Consumer):  # type: ignore[misc]
    """Celery's consumer, with events sent on a timer."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.hub:
            self.hub.call_repeatedly(_FLUSH_S, self._flush_events)

    def on_send_event_buffered(self) -> None:
        """Don't flush here, as Celery does for each event: the timer does."""
