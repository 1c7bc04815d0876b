"""Celery's events of tasks, sent in bunches.

Celery publishes what happened to its tasks (received, started, succeeded) at the next turn of its loop, which under
load is a message for nearly every event, and was a quarter of the time of the process that feeds the CPU workers.
"""

from __future__ import annotations

from typing import Any

from celery.worker.consumer import Consumer

#: Seconds that an event waits for others; as late may Flower show it.
_BUNCH_S = 0.2


class EventBatchingConsumer(Consumer):  # type: ignore[misc]
    """Celery's consumer, but for when it sends events."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.hub:
            self.hub.call_repeatedly(_BUNCH_S, self._flush_events)

    def on_send_event_buffered(self) -> None:
        """Leave it to the next bunch."""
