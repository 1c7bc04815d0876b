"""Flower's web application: it answers to its own names only, and its counters outlive their workers."""

import socket
import time
from ipaddress import ip_address
from typing import Any

from celery import Celery
from flower.app import Flower
from flower.options import options
from flower.urls import settings
from tornado.httputil import HTTPServerRequest
from tornado.ioloop import IOLoop
from tornado.web import RequestHandler

from .events import Capture

#: A worker is gone when it has been silent for so long, seconds; its heart beats every two.
_GONE_S = 10.0
#: The counters of a worker are kept for so long after it, seconds.
_FORGOTTEN_S = 86_400.0


class Application(Flower):  # type: ignore[misc]  # Flower has no types
    """Flower with the options that are set in `flower.options`."""

    def __init__(self, app: Celery, hosts: str | None) -> None:
        """`hosts` are names of this server, separated by commas."""
        loop = IOLoop.current()
        limits = {"max_workers_in_memory": options.max_workers, "max_tasks_in_memory": options.max_tasks}
        kept = {name: options[name] for name in ("db", "persistent", "state_save_interval", "enable_events")}
        super().__init__(options, app, Capture(app, loop, **kept, **limits), loop, **settings)
        self._hosts = {name.strip().lower() for name in (hosts or "").split(",")} | {socket.getfqdn().lower()}

    def find_handler(self, request: HTTPServerRequest, **kwargs: Any) -> Any:
        """The handler of a request. One for a foreign name is refused: a page of another server whose name has been
        pointed at this address (DNS rebinding) could otherwise read everything.
        """
        if not self._is_own_name(request.host_name.lower()):
            return self.get_handler_delegate(request, _ForeignHost)
        return super().find_handler(request, **kwargs)

    def _is_own_name(self, host: str) -> bool:
        if "." not in host or host in self._hosts or "*" in self._hosts:  # no other server's name is without a dot
            return True
        try:
            return bool(ip_address(host))
        except ValueError:
            return False

    def purge_offline_worker_metrics(self) -> None:
        """Before metrics are read: gauges of workers that are gone become 0, and their counters go after a day.

        Flower's own removes counters with the gauges, so that what a worker did last may never be read, and at once
        those of `maskq`, which queues tasks and has no heartbeat.
        """
        state = self.events.state
        metrics = state.metrics
        for name, worker in list(state.workers.items()):
            silent_s = time.time() - max(worker.heartbeats or [getattr(worker, "local_received", 0.0)])
            if silent_s > _FORGOTTEN_S:
                metrics.remove_workers({name})
                state.workers.pop(name, None)
                state.counter.pop(name, None)
            elif silent_s > _GONE_S or not worker.heartbeats:
                metrics.worker_online.labels(name).set(0)
                metrics.worker_number_of_currently_executing_tasks.labels(name).set(0)
                metrics.number_of_prefetched_tasks.remove_by_labels({"worker": name})


class _ForeignHost(RequestHandler):
    """Refuses a request, whatever its method is."""

    def prepare(self) -> None:
        """Answer before the method is called."""
        self.set_status(421)
        self.set_header("Content-Type", "text/plain")
        self.finish(f"{self.request.host_name!r} is not a name of this Flower: see MASKQ_FLOWER_HOSTS\n")
