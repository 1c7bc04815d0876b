"""Health, metrics, shutdown, the watchdog of the event loop, the command without the extra."""

from __future__ import annotations

import sys
import time

import pytest
from typer.testing import CliRunner

from maskq import BrokerUnavailable, Settings
from maskq.cli.app import app as cli
from maskq.producer.gateway.server import Server
from maskq.workers.gateway import EventLoopWatchdog
from tests.unit.gateway.fakes import Http, assert_problem


def test_health_readiness_and_metrics(http: Http) -> None:
    assert http("GET", "/healthz").json() == {"status": "ok"}
    assert http("GET", "/readyz").json() == {"status": "ready"}
    metrics = http("GET", "/metrics")
    assert metrics.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert "maskq_jobs_unfinished 3.0\n" in metrics.text


def test_without_a_broker_it_is_alive_and_not_ready(http: Http) -> None:
    http.client.broker_error = BrokerUnavailable("nothing at redis:6379")
    assert http("GET", "/healthz").status_code == 200
    assert_problem(http("GET", "/readyz"), 503, BrokerUnavailable)
    assert_problem(http("GET", "/metrics"), 503, BrokerUnavailable)


def test_readiness_times_out_if_the_broker_hangs(http: Http, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("maskq.producer.gateway.routes.health._READY_S", 0.05)
    monkeypatch.setattr(http.client, "check", lambda: time.sleep(0.4))
    assert_problem(http("GET", "/readyz"), 503, BrokerUnavailable)


def test_the_graceful_shutdown_is_shorter_than_the_grace_period(http: Http) -> None:
    server = Server(http.app, http.subscriptions, Settings(grace_s=10))  # type: ignore[arg-type]
    assert server.config.timeout_graceful_shutdown == 8


def test_a_stalled_event_loop_is_reported_except_during_a_shutdown(http: Http) -> None:
    server = Server(http.app, http.subscriptions, Settings())  # type: ignore[arg-type]
    watchdog = EventLoopWatchdog(server, max_stalled=2)
    for _ in range(5):
        http.run(server.on_tick(1))
        assert watchdog.health() is None
    assert [watchdog.health() for _ in range(3)] == [None, None, "its event loop has stood still for 3 s"]
    http.run(server.on_tick(1))
    assert watchdog.health() is None
    server.should_exit = True
    assert not any(watchdog.health() for _ in range(5))


@pytest.mark.parametrize("missing", ["fastapi", "python_multipart", "uvicorn"])
def test_without_the_extra_the_command_names_what_to_install(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("maskq.producer.gateway")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delattr("maskq.producer.gateway")
    monkeypatch.setitem(sys.modules, missing, None)  # an import of it fails
    result = CliRunner().invoke(cli, ["serve"])
    assert result.exit_code == 2
    assert (
        result.stderr.strip()
        == f"maskq: this command needs {missing}: pip install 'maskq[gateway]' (or, in a checkout, '.[gateway]')"
    )
