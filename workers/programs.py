"""maskq's own programs: their command lines and environments."""

from __future__ import annotations

import os

from maskq.producer.settings import Settings

from .device.spec import DeviceSpec
from .supervision.process import Program, python_program


def device_program(spec: DeviceSpec, settings: Settings) -> Program:
    """The process of one device, which sees no other: the variables for that must be set before torch is imported."""
    env = settings_env(settings) | malloc_env() | spec.environment(os.environ)
    # OpenMP threads spin between two layers. By default they go on for milliseconds after an image, on cores that other
    # threads need. (At a tenth of this value they fell asleep a hundred times per image; one image of 256² took 10 ms
    # longer.)
    env["GOMP_SPINCOUNT"] = os.environ.get("GOMP_SPINCOUNT", "50000")
    return python_program(
        spec.node, "maskq.workers.device.process", str(spec), env=env, heartbeat_s=settings.heartbeat_s
    )


def cluster_program(settings: Settings) -> Program:
    """The CPU worker."""
    # One thread per process: the worker runs several processes in parallel.
    env = settings_env(settings) | malloc_env() | {"OMP_NUM_THREADS": "1"}
    return python_program("cluster", "maskq.workers.cluster", env=env, heartbeat_s=settings.heartbeat_s)


def flower_program(settings: Settings, port: int, address: str = "127.0.0.1") -> Program:
    """Flower on `address`."""
    return _web_program("flower", address, port, settings)


def gateway_program(settings: Settings, port: int) -> Program:
    """The HTTP gateway on loopback."""
    return _web_program("gateway", "127.0.0.1", port, settings)


def _web_program(name: str, address: str, port: int, settings: Settings) -> Program:
    env, heartbeat_s = settings_env(settings), settings.heartbeat_s
    return python_program(name, f"maskq.workers.{name}", address, str(port), env=env, heartbeat_s=heartbeat_s)


def settings_env(settings: Settings) -> dict[str, str]:
    """The environment variables from which `Settings()` gives these settings."""
    values = settings.model_dump(mode="json", exclude_none=True)
    return {f"MASKQ_{name.upper()}": str(value) for name, value in values.items()}


def malloc_env() -> dict[str, str]:
    """Environment variables that have glibc's malloc keep freed memory.

    By default it returns every large tensor to the kernel and faults it in again, which makes inference on a CPU two to
    three times slower at 2 megapixels.
    """
    return {
        "MALLOC_MMAP_MAX_": "0",
        "MALLOC_TRIM_THRESHOLD_": str(1 << 30),
        "MALLOC_TOP_PAD_": str(64 << 20),
        "MALLOC_ARENA_MAX": "4",
    }
