"""What Flower's metrics say of workers that are gone."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator

import pytest
from flower.options import options
from prometheus_client import REGISTRY, generate_latest

from maskq import Settings
from maskq.tasks.celery_app import create_app
from maskq.workers.flower.application import Application

DAY_S = 86_400


@pytest.fixture
def application() -> Iterator[Application]:
    """Flower's application, which nothing is connected to."""
    options.purge_offline_workers = 60
    application = Application(create_app(Settings(broker_url="redis://127.0.0.1:1/0")), None)
    yield application
    application.events.state.metrics.remove_workers(set(application.events.state.counter))


def tell(application: Application, worker: str, kind: str, silent_s: float, **fields: object) -> None:
    """Have Flower hear something of a worker, so many seconds ago."""
    then = time.time() - silent_s
    told = {"type": kind, "hostname": worker, "timestamp": then, "local_received": then, "clock": 1, "pid": 1}
    application.events.state.event(told | fields)


def beat_and_work(application: Application, worker: str, silent_s: float) -> None:
    """A worker that has received a task, and begun another."""
    tell(application, worker, "worker-heartbeat", silent_s, freq=2.0, active=1)
    for number in range(2):
        task = f"{worker}-embed-{number}"
        tell(application, worker, "task-received", silent_s, uuid=task, name="tasks.embed")
    tell(application, worker, "task-started", silent_s, uuid=task)


def read(application: Application) -> dict[str, float]:
    """The metrics after the purge that goes before a scrape, without labels of tasks."""
    application.purge_offline_worker_metrics()
    text = generate_latest(REGISTRY).decode()
    lines = re.findall(r'^(flower_[a-z_]+)\{.*?(?:type="([a-z-]+)",)?worker="(\w+)"\} (\S+)$', text, re.MULTILINE)
    return {f"{name} {kind} {worker}": float(value) for name, kind, worker, value in lines if "created" not in name}


def test_gauges_of_workers_that_are_gone_are_zero_and_their_counters_stay_for_a_day(application: Application) -> None:
    for worker, silent_s in (("here", 0), ("killed", 20), ("yesterday", DAY_S + 1)):
        beat_and_work(application, worker, silent_s)
    beat_and_work(application, "stopped", 100)
    tell(application, "stopped", "worker-offline", 99)
    tell(application, "maskq", "task-sent", 300, uuid="one-embed-1", name="tasks.embed")
    for _ in range(2):
        found = read(application)
    online = {name.split()[-1]: value for name, value in found.items() if name.startswith("flower_worker_online")}
    assert online == {"here": 1, "killed": 0, "stopped": 0}
    active = {name.split()[-1]: value for name, value in found.items() if "executing" in name}
    assert active == {"here": 1, "killed": 0, "stopped": 0}
    assert {name.split()[-1] for name in found if "prefetched" in name} == {"here"}
    received = {name.split()[-1]: value for name, value in found.items() if " task-received " in name}
    assert received == {"here": 2, "killed": 2, "stopped": 2}
    assert found["flower_events_total task-sent maskq"] == 1, "who queues tasks has no heartbeat"
    assert set(application.events.state.workers) == {"here", "killed", "stopped"}


def test_a_worker_that_comes_back_is_counted_on(application: Application) -> None:
    beat_and_work(application, "back", 50)
    assert read(application)["flower_worker_online  back"] == 0
    beat_and_work(application, "back", 0)
    found = read(application)
    assert (found["flower_worker_online  back"], found["flower_events_total task-received back"]) == (1, 4)
