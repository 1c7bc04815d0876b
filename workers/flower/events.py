"""Flower's capture of task events, through outages of Redis, each with the name of its task."""

import logging
import re
import time
from typing import Any

from celery import Celery
from celery.events import EventReceiver
from flower.events import Events
from tornado.ioloop import IOLoop

from maskq.producer.schema import Stage
from maskq.producer.state.routing import TASKS

log = logging.getLogger(__name__)

#: Between attempts to connect, seconds. What workers do before Flower listens again, it never hears of.
_PAUSE_S = 0.25
#: After so many seconds without an event, not even a worker's heartbeat, the connection may be dead: take a new one.
_SILENCE_S = 30.0
#: The end of a task's id: its stage and the number of the message.
_TASK_ID = re.compile(rf"-({'|'.join(Stage)})-\d+$")


class Capture(Events):  # type: ignore[misc]  # Flower has no types
    """The thread that listens to Celery's events."""

    def __init__(self, app: Celery, io_loop: IOLoop, **options: Any) -> None:
        """`options` are those of Flower's class."""
        super().__init__(app, io_loop, **options)
        self.name = "events"

    def run(self) -> None:
        """Listen for ever. Flower's own pause between attempts doubles without bound while Redis is away."""
        while True:
            try:
                self._listen()
            except TimeoutError:
                log.debug("no event for %g s", _SILENCE_S)
            except Exception as error:
                log.warning("no events: %s", error)
            time.sleep(_PAUSE_S)

    def _listen(self) -> None:
        """Listen until the connection fails."""
        with self.capp.connection() as connection:
            connection.ensure_connection(max_retries=1, interval_start=0, interval_step=0)
            receiver = EventReceiver(connection, handlers={"*": self.on_event}, app=self.capp)
            receiver.connect_max_retries = 1
            receiver.capture(limit=None, timeout=_SILENCE_S, wakeup=True)

    def on_event(self, event: dict[str, Any]) -> None:
        """Handle an event. Only the first events of a task have its name; Flower may have missed them."""
        if "name" not in event and (found := _TASK_ID.search(event.get("uuid", ""))):
            event["name"] = TASKS[Stage(found[1])]
        super().on_event(event)
