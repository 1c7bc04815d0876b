"""What `maskq worker …` does: workers by themselves, as in a container; and `maskq devices`."""

from __future__ import annotations

import json
import signal
from typing import Any

from rich.console import Console
from rich.table import Table

from maskq.producer.settings import Settings
from maskq.producer.state.connections import Connections
from maskq.workers.device.hardware import Hardware, gibibytes, look
from maskq.workers.device.spec import DeviceSpec, InvalidDevices, parse
from maskq.workers.local.stack import cluster_program, device_program, flower_program
from maskq.workers.supervision.supervisor import Program, Supervisor


def device(settings: dict[str, Any]) -> int:
    """Every device of the specification."""
    chosen = given(settings)
    return _keep(chosen, [device_program(spec, chosen) for spec in parse(chosen.devices)])


def devices(settings: dict[str, Any], as_json: bool) -> int:
    """What there is to run on, and what the specification makes of it; 2 where it is of no use here."""
    chosen, there = given(settings), look()
    try:
        specs, refused = parse(chosen.devices, lambda: there), ""
    except InvalidDevices as error:
        specs, refused = (), str(error)
    if as_json:
        _print_json(there, chosen.devices, specs, refused)
    else:
        _print_tables(there, chosen.devices, specs, refused, chosen.batch_size)
    return 2 if refused else 0


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


def _found(there: Hardware) -> list[dict[str, str | int]]:
    """What there is, the CPU first."""
    found: list[dict[str, str | int]] = [
        {"device": "cpu", "name": f"{there.cores} cores", "memory": there.memory, "cores": there.cores}
    ]
    for number, gpu in enumerate(there.gpus):
        found.append({"device": f"cuda:{number}", "name": gpu.name, "memory": gpu.memory})
    return found


def _print_json(there: Hardware, configured: str, specs: tuple[DeviceSpec, ...], refused: str) -> None:
    for found in _found(there):
        print(json.dumps(found))
    processes = [{"node": spec.node, **vars(spec)} for spec in specs]
    print(json.dumps({"devices": configured, "processes": processes, "error": refused or None}))


def _print_tables(
    there: Hardware, configured: str, specs: tuple[DeviceSpec, ...], refused: str, batch_size: int
) -> None:
    console = Console(highlight=False)
    found = Table("device", "name", "memory", title="found", title_justify="left")
    for one in _found(there):
        found.add_row(str(one["device"]), str(one["name"]), gibibytes(int(one["memory"])))
    console.print(found)
    if there.trouble:
        console.print(f"torch could not be asked: {there.trouble}", markup=False)
    if refused:
        console.print(refused, style="red", markup=False)
        return
    made = Table("process", "device", "cudnn benchmark", "lanes", "batch", "precision", title_justify="left")
    made.title = f"MASKQ_DEVICES={configured}"
    for spec in specs:
        gpu = bool(spec.index)
        batch, benchmark = (str(spec.batch or batch_size), spec.benchmark) if gpu else ("1", "none on a CPU")
        made.add_row(spec.node, spec.device, benchmark, spec.lanes, batch, spec.precision)
    console.print(made)


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
