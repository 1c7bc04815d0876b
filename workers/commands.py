"""What `maskq worker …` does: workers by themselves, as in a container."""

from __future__ import annotations

import signal
from typing import Any

from producer.connections import Connections
from producer.settings import Settings

from .devices import parse
from .stack import cluster_program, device_program, flower_program
from .supervisor import Program, Supervisor


def device(settings: dict[str, Any]) -> int:
    """Every device of the specification."""
    chosen = given(settings)
    return _keep(chosen, [device_program(spec, chosen) for spec in parse(chosen.devices)])


def cluster() -> int:
    """The CPU worker."""
    chosen = given({})
    return _keep(chosen, [cluster_program(chosen)])


def flower(address: str, port: int) -> int:
    """Flower."""
    chosen = given({})
    return _keep(chosen, [flower_program(chosen, port, address)])


def given(overrides: dict[str, Any]) -> Settings:
    """The environment's settings, but for what was given on the command line."""
    return Settings(**{name: value for name, value in overrides.items() if value is not None})


def _keep(settings: Settings, programs: list[Program]) -> int:
    """Keep the programs up until SIGTERM or Ctrl-C; 1 where one is given up."""
    Connections.open(settings).check()
    supervisor = Supervisor()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: supervisor.leave())
    try:
        for program in programs:
            supervisor.start(program)
        supervisor.wait()
    finally:
        supervisor.stop(settings.grace_s)
    return 0
