"""`maskq worker …`: single workers, as in a container; and `maskq devices`."""

from __future__ import annotations

import signal
from json import dumps
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from maskq.producer.settings import Settings
from maskq.producer.state.connections import Connections

from .options import Address, Devices, Json, read_settings
from .terminal import PlainTable, stdout
from .writable import check_temporary_folder

if TYPE_CHECKING:
    from maskq.workers.device.hardware import Hardware
    from maskq.workers.device.spec import DeviceSpec
    from maskq.workers.supervision.process import Program

app = typer.Typer()
worker = typer.Typer(help="Run one kind of worker, as in a container.", no_args_is_help=True)
app.add_typer(worker, name="worker")


@worker.command("device")
def worker_device(devices: Devices = None) -> int:
    """Run one process per device until SIGTERM; one that dies is restarted."""
    from maskq.workers.device.spec import parse
    from maskq.workers.programs import device_program

    settings = read_settings(devices=devices)
    return _serve(settings, [device_program(spec, settings) for spec in parse(settings.devices)])


@worker.command("cluster")
def worker_cluster() -> int:
    """Run the CPU worker, with MASKQ_CLUSTER_PROCESSES processes, until SIGTERM."""
    from maskq.workers.programs import cluster_program

    check_temporary_folder()  # of its pool of processes
    settings = read_settings()
    return _serve(settings, [cluster_program(settings)])


@worker.command("flower")
def worker_flower(
    address: Address = "127.0.0.1", port: Annotated[int, typer.Option(help="The port to listen on.")] = 5555
) -> int:
    """Run Flower, read-only, until SIGTERM."""
    from maskq.workers.programs import flower_program

    settings = read_settings()
    Connections.open(settings).check()
    return _supervise(settings, [flower_program(settings, port, address)])


def _serve(settings: Settings, programs: list[Program]) -> int:
    """Keep workers of jobs running. Raises `BrokerUnavailable`, and `CrashLoop`."""
    Connections.open(settings).check_worker()
    return _supervise(settings, programs)


def _supervise(settings: Settings, programs: list[Program]) -> int:
    """Keep the programs running until SIGTERM or Ctrl-C. Raises `CrashLoop`."""
    from maskq.workers.supervision.supervisor import Supervisor

    supervisor = Supervisor()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: supervisor.request_stop())
    try:
        for program in programs:
            supervisor.start(program)
        supervisor.wait()
    finally:
        supervisor.stop(settings.grace_s)
    return 0


@app.command()
def devices(devices: Devices = None, as_json: Json = False) -> int:
    """Show this machine's CPU and GPUs, and the processes that MASKQ_DEVICES makes of them.

    Exit status 2 if MASKQ_DEVICES is invalid on this machine.
    """
    from maskq.workers.device.hardware import detect
    from maskq.workers.device.spec import InvalidDevices, parse

    settings, hardware = read_settings(devices=devices), detect()
    specs: tuple[DeviceSpec, ...] = ()
    message = ""
    try:
        specs = parse(settings.devices, lambda: hardware)
    except InvalidDevices as error:
        message = str(error)
    if as_json:
        for entry in _entries(hardware):
            print(dumps(entry))
        processes = [{"node": spec.node, **vars(spec)} for spec in specs]
        print(dumps({"devices": settings.devices, "processes": processes, "error": message or None}))
    else:
        _print_hardware(hardware)
        if message:
            stdout.print(message, style="red", markup=False)
        else:
            _print_processes(specs, settings)
    return 2 if message else 0


def _entries(hardware: Hardware) -> list[dict[str, str | int]]:
    """The devices of this machine, the CPU first; memory in bytes."""
    entries: list[dict[str, str | int]] = [
        {"device": "cpu", "name": f"{hardware.cores} cores", "memory": hardware.memory, "cores": hardware.cores}
    ]
    for device, gpu in hardware.gpus_by_device.items():
        entries.append({"device": device, "name": gpu.name, "memory": gpu.memory})
    return entries


def _print_hardware(hardware: Hardware) -> None:
    from maskq.workers.device.hardware import gibibytes

    table = PlainTable("device", "name", "memory", title="this machine", title_justify="left")
    for entry in _entries(hardware):
        table.add_row(str(entry["device"]), str(entry["name"]), gibibytes(int(entry["memory"])))
    stdout.show(table)
    if hardware.probe_error:
        stdout.print(f"torch can't be queried: {hardware.probe_error}", markup=False)


def _print_processes(specs: tuple[DeviceSpec, ...], settings: Settings) -> None:
    table = PlainTable("process", "device", "cudnn benchmark", "lanes", "batch", "precision", title_justify="left")
    table.title = Text(f"MASKQ_DEVICES={settings.devices}")
    for spec in specs:
        batch = str(spec.batch or settings.batch_size) if spec.accelerator.batches else "1"
        benchmark = spec.benchmark if spec.accelerator.cudnn_benchmark else "none on a CPU"
        table.add_row(spec.node, spec.device, benchmark, spec.lanes, batch, spec.precision)
    stdout.show(table)
