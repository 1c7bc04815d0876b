"""maskq's own programs: their command lines and environments."""

import os
import sys
from collections.abc import Mapping

from maskq.producer.settings import Settings

from .device.spec import DeviceSpec
from .supervision.process import Program


class InvalidFlower(ValueError):
    """A setting with which Flower can't start."""


def device_program(spec: DeviceSpec, settings: Settings) -> Program:
    """The process of one device, which sees no other: the variables for that must be set before torch is imported."""
    _ = settings.model_folders  # a folder that does not exist is an error here, not in process after process
    # OpenMP threads spin between two layers. By default they go on for milliseconds after an image, on cores that other
    # threads need. (At a tenth of this value they fell asleep a hundred times per image; one image of 256² took 10 ms
    # longer.)
    env = malloc_env() | {"GOMP_SPINCOUNT": os.environ.get("GOMP_SPINCOUNT", "50000")} | spec.environment(os.environ)
    return python_program(settings, spec.node, "maskq.workers.device.process", str(spec), env=env)


def cluster_program(settings: Settings) -> Program:
    """The CPU worker: several processes in parallel, each with one thread."""
    return python_program(settings, "cluster", "maskq.workers.cluster", env=malloc_env() | {"OMP_NUM_THREADS": "1"})


def flower_program(settings: Settings, port: int, address: str = "127.0.0.1") -> Program:
    """Flower on `address`. Raises `InvalidFlower`."""
    if settings.flower_basic_auth and not all(settings.flower_basic_auth.partition(":")):
        raise InvalidFlower("MASKQ_FLOWER_BASIC_AUTH: a name, a colon and a password are wanted, such as name:password")
    if settings.flower_conf and not settings.flower_conf.is_file():
        raise InvalidFlower(f"MASKQ_FLOWER_CONF: there is no file {settings.flower_conf}")
    return python_program(settings, "flower", "maskq.workers.flower", address, str(port))


def gateway_program(settings: Settings, port: int) -> Program:
    """The HTTP gateway on loopback."""
    return python_program(settings, "gateway", "maskq.workers.gateway", "127.0.0.1", str(port))


def python_program(
    settings: Settings, name: str, module: str, *arguments: str, env: Mapping[str, str] | None = None
) -> Program:
    """`python -m module`, with these settings; `-P` keeps the current folder out of its import path."""
    argv = (sys.executable, "-P", "-m", module, *arguments)
    return Program(name, argv, settings_env(settings) | dict(env or {}), heartbeat_s=settings.heartbeat_s)


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
