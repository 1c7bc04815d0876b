"""The embedded stack: a private Redis where no broker is configured, devices, a CPU worker, Flower, the gateway."""

from __future__ import annotations

import os
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
from maskq.producer.signals import handled
from maskq.producer.state.connections import Connections

from ..device.spec import DeviceSpec, parse, visible
from ..supervision.log_files import supervisor_log
from ..supervision.supervisor import Program, Supervisor, python
from .ports import loopback_port
from .redis_server import private_redis

_REDIS_START_S = 20.0
_READY_S = 180.0


@dataclass(frozen=True)
class Stack:
    """A running stack."""

    #: The settings with `broker_url` filled in.
    settings: Settings
    supervisor: Supervisor
    #: The addresses of Flower and the HTTP gateway, where they were asked for.
    flower_url: str | None
    gateway_url: str | None
    #: The folder of the log files, one per process: `NAME.log`; None if the processes log to standard error.
    log_dir: Path | None = None


def device_program(spec: DeviceSpec, settings: Settings) -> Program:
    """The process of one device, which sees no other: CUDA_VISIBLE_DEVICES is set before torch is imported."""
    env = settings_env(settings) | retained_heap() | {"CUDA_VISIBLE_DEVICES": visible(spec, os.environ)}
    # A team of OpenMP threads waits awake between two layers, and not much longer: by default it keeps the cores for
    # milliseconds after an image, which others need. (With a tenth of this it fell asleep a hundred times an image, and
    # a lone one of 256² took 10 ms longer.)
    env["GOMP_SPINCOUNT"] = os.environ.get("GOMP_SPINCOUNT", "50000")
    return python(spec.node, "maskq.workers.device.process", str(spec), env=env, heartbeat_s=settings.heartbeat_s)


def cluster_program(settings: Settings) -> Program:
    """The CPU worker."""
    # One thread each: its processes are its parallelism.
    env = settings_env(settings) | retained_heap() | {"OMP_NUM_THREADS": "1"}
    return python("cluster", "maskq.workers.cluster", env=env, heartbeat_s=settings.heartbeat_s)


def flower_program(settings: Settings, port: int, address: str = "127.0.0.1") -> Program:
    """Flower on `address`."""
    env = settings_env(settings)
    return python("flower", "maskq.workers.flower", address, str(port), env=env, heartbeat_s=settings.heartbeat_s)


def gateway_program(settings: Settings, port: int) -> Program:
    """The HTTP gateway on loopback."""
    env = settings_env(settings)
    return python("gateway", "maskq.workers.gateway", "127.0.0.1", str(port), env=env, heartbeat_s=settings.heartbeat_s)


def settings_env(settings: Settings) -> dict[str, str]:
    """The settings as the environment that gives the same settings."""
    found = settings.model_dump(mode="json", exclude_none=True)
    return {f"MASKQ_{name.upper()}": str(value) for name, value in found.items()}


def retained_heap() -> dict[str, str]:
    """Glibc's malloc, told to keep what it has: by default it hands every large tensor back to the kernel and faults
    it in again, which makes a CPU forward of 2 megapixels two to three times slower.
    """
    return {
        "MALLOC_MMAP_MAX_": "0",
        "MALLOC_TRIM_THRESHOLD_": str(1 << 30),
        "MALLOC_TOP_PAD_": str(64 << 20),
        "MALLOC_ARENA_MAX": "4",
    }


@contextmanager
def running(
    settings: Settings,
    *,
    folder: Path | None = None,
    flower: bool = False,
    gateway: bool = False,
    log_dir: Path | None = None,
    logs: bool = True,
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
    gateway_port = loopback_port("gateway", settings.gateway_port, others=(flower_port,)) if gateway else None
    temporary = Path(tempfile.mkdtemp(prefix="maskq-"))
    log_dir = (log_dir or temporary / "logs") if logs else None
    supervisor = Supervisor(log_dir, on_crash_loop)
    cleanup = ExitStack()
    try:
        if log_dir:
            cleanup.enter_context(supervisor_log(log_dir / "supervisor.log"))
        if settings.broker_url is None:
            redis = private_redis(folder or temporary / "redis")
            watched = settings.task_events and flower  # no one else comes to this Redis
            settings = settings.model_copy(update={"broker_url": redis.url, "task_events": watched})
            supervisor.start(redis.program)
            on_start((redis.program.name,))
            _wait_for_broker(settings)
        supervisor.start(cluster_program(settings))
        for spec in devices:
            supervisor.start(device_program(spec, settings))
        if flower_port:
            supervisor.start(flower_program(settings, flower_port))
        if gateway_port:
            supervisor.start(gateway_program(settings, gateway_port))
        supervisor.wait_ready(_READY_S, on_start)
        yield Stack(settings, supervisor, _url(flower_port), _url(gateway_port), log_dir)
    finally:
        with handled(signal.SIG_IGN):  # a second Ctrl-C must not leave processes behind
            supervisor.stop(settings.grace_s)
            cleanup.close()
            shutil.rmtree(temporary, ignore_errors=True)


def _url(port: int | None) -> str | None:
    return f"http://127.0.0.1:{port}" if port else None


def _wait_for_broker(settings: Settings) -> None:
    """Until the Redis that was just started has loaded its data."""
    to = Connections.open(settings)
    deadline = time.monotonic() + _REDIS_START_S
    while True:
        try:
            return to.check()
        except BrokerUnavailable:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)
        finally:
            to.redis.connection_pool.disconnect()
