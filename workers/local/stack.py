"""The embedded stack: device workers, a CPU worker, a private Redis if needed, Flower and the gateway on request."""

import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from maskq.producer.errors import BrokerUnavailable
from maskq.producer.settings import Settings
from maskq.producer.signals import override_stop_signals
from maskq.producer.state.connections import Connections

from ..device.spec import parse
from ..programs import cluster_program, device_program, flower_program, gateway_program
from ..supervision.log_files import supervisor_log
from ..supervision.supervisor import Supervisor
from .ports import loopback_port
from .redis_server import private_redis

_REDIS_START_S = 20.0
_READY_S = 180.0


@dataclass(frozen=True)
class Stack:
    """A running stack."""

    #: The settings, with the `broker_url` in use and the `redis_memory` of a private Redis.
    settings: Settings
    supervisor: Supervisor
    #: The URLs of Flower and the HTTP gateway; None for one that was not requested.
    flower_url: str | None
    gateway_url: str | None
    #: The folder of the log files: `NAME.log` of each process, and `supervisor.log`.
    log_dir: Path


@contextmanager
def running(
    settings: Settings,
    *,
    folder: Path | None = None,
    flower: bool = False,
    gateway: bool = False,
    log_dir: Path | None = None,
    on_start: Callable[[tuple[str, ...]], None] = lambda names: None,
    on_crash_loop: Callable[[], None] = lambda: None,
) -> Iterator[Stack]:
    """Start a stack, and stop it at the end of the block.

    `folder` holds the private Redis's data, `log_dir` the log files: one per process, and `supervisor.log`; by default
    both are temporary and deleted with the stack. While the stack starts, `on_start` is called with the names of the
    processes that aren't ready, each time they change; last with none. Raises `NoRedis`, `InvalidDevices`, `PortTaken`,
    `CrashLoop` or `TimeoutError`.
    """
    devices = parse(settings.devices)
    flower_port = loopback_port("flower", settings.flower_port) if flower else None
    gateway_port = loopback_port("gateway", settings.gateway_port, reserved=(flower_port,)) if gateway else None
    temporary = Path(tempfile.mkdtemp(prefix="maskq-"))
    log_dir = log_dir or temporary / "logs"
    supervisor = Supervisor(log_dir, on_crash_loop)
    cleanup = ExitStack()
    try:
        cleanup.enter_context(supervisor_log(log_dir / "supervisor.log"))
        if settings.broker_url is None:
            redis = private_redis(folder or temporary / "redis", settings.redis_memory)
            watched = settings.task_events and flower  # nothing else reads the events of a private Redis
            own = {"broker_url": redis.url, "redis_memory": redis.memory, "task_events": watched}
            settings = settings.model_copy(update=own)
            supervisor.start(redis.program)
            on_start((redis.program.name,))
            _wait_for_broker(settings, supervisor)
        supervisor.start(cluster_program(settings))
        for spec in devices:
            supervisor.start(device_program(spec, settings))
        if flower_port:
            supervisor.start(flower_program(settings, flower_port))
        if gateway_port:
            supervisor.start(gateway_program(settings, gateway_port))
        supervisor.wait_ready(_READY_S, on_start)
        flower_url = _url(flower_port, settings.flower_url_prefix)
        yield Stack(settings, supervisor, flower_url, _url(gateway_port), log_dir)
    finally:
        with override_stop_signals(signal.SIG_IGN):  # a second Ctrl-C must not leave processes behind
            supervisor.stop(settings.grace_s)
            cleanup.close()
            shutil.rmtree(temporary, ignore_errors=True)


def _url(port: int | None, prefix: str | None = None) -> str | None:
    return "/".join((f"http://127.0.0.1:{port}", *filter(None, [(prefix or "").strip("/")]))) if port else None


def _wait_for_broker(settings: Settings, supervisor: Supervisor) -> None:
    """Wait until the private Redis has loaded its data. Raises `BrokerUnavailable` or `CrashLoop`."""
    connections = Connections.open(settings)
    deadline = time.monotonic() + _REDIS_START_S
    while True:
        try:
            return connections.check()
        except BrokerUnavailable:
            if supervisor.error:
                raise supervisor.error from None
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)
        finally:
            connections.redis.connection_pool.disconnect()
