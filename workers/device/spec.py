"""Parses the setting MASKQ_DEVICES, such as `cuda:0=on,cuda:1=auto,cpu`: one process per device.

specification = auto | entry, entry …
entry         = device [=benchmark] [;lanes=…] [;batch=…] [;precision=…]
device        = cpu | cuda:N | cuda (all of them) | auto (all GPUs, else the CPU; must be the only entry)
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Literal, get_args

from .accelerators import ACCELERATORS, CPU
from .accelerators.base import Accelerator
from .cudnn_benchmark import Benchmark
from .hardware import Hardware, detect

log = logging.getLogger(__name__)

Lanes = Literal["both", "fixed", "varied"]
Precision = Literal["fp32", "bf16", "fp16"]

_AUTO = "auto"
_GPUS = [name for name, accelerator in ACCELERATORS.items() if accelerator.is_gpu]
_DEVICE = re.compile("|".join([CPU.name, _AUTO, *_GPUS, *(f"{name}:[0-9]+" for name in _GPUS)]))
_SYNTAX = ", ".join([CPU.name, *(f"{name}:N, {name} (all of them)" for name in _GPUS)]) + f" or {_AUTO}"
_CHOICES = {"benchmark": get_args(Benchmark), "lanes": get_args(Lanes), "precision": get_args(Precision)}
_MAX_BATCH = 1024


class InvalidDevices(ValueError):
    """The specification can't be parsed, or names a device that this machine does not have."""


@dataclass(frozen=True)
class DeviceSpec:
    """One device and the options of its process."""

    #: `cpu` or `cuda:N`, N as torch counts in the process that starts the device processes.
    device: str
    #: Whether cudnn searches the fastest convolutions of each new shape; `auto`: if it pays. Has no effect on a CPU.
    benchmark: Benchmark = "auto"
    #: The jobs that it takes: those of common shapes (`fixed`), all others (`varied`), or both.
    lanes: Lanes = "both"
    #: Maximum number of images in a batch; 0 means MASKQ_BATCH_SIZE. A CPU takes no batches.
    batch: int = 0
    #: The type that the network computes in.
    precision: Precision = "fp32"

    def __str__(self) -> str:
        options = (f";{f.name}={getattr(self, f.name)}" for f in fields(self)[2:] if getattr(self, f.name) != f.default)
        return f"{self.device}={self.benchmark}{''.join(options)}"

    @classmethod
    def from_string(cls, text: str) -> DeviceSpec:
        """Parse the output of `str`. Raises `InvalidDevices`."""
        spec = _parse_entry(text, "device")
        if spec.device == _AUTO or (spec.is_gpu and spec.index is None):
            raise InvalidDevices(f"device {text!r}: one device is cpu or cuda:N")
        return spec

    @property
    def accelerator(self) -> Accelerator:
        """The kind of device."""
        return ACCELERATORS[self.device.partition(":")[0]]

    @property
    def is_gpu(self) -> bool:
        """Whether the device is a GPU."""
        return self.accelerator.is_gpu

    @property
    def index(self) -> int | None:
        """N of `cuda:N`; None for the CPU."""
        number = self.device.partition(":")[2]
        return int(number) if number else None

    @property
    def node(self) -> str:
        """The process's name in Flower, before the `@`: `gpu0`, `cpu`, `cpu-fixed`."""
        name = self.accelerator.node + self.device.partition(":")[2]
        return name if self.lanes == "both" else f"{name}-{self.lanes}"

    def environment(self, environment: Mapping[str, str]) -> dict[str, str]:
        """Build the variables with which a process sees this device only; `environment` is this process's."""
        return self.accelerator.environment(self.index, environment)


def parse(text: str, find: Callable[[], Hardware] = detect) -> tuple[DeviceSpec, ...]:
    """Parse a specification into devices that this machine has.

    `find` is called if the specification names a GPU or `auto`. If GPUs can't be detected, `auto` becomes the CPU with
    a warning in the log. Raises `InvalidDevices`, with the entry's number and the devices that exist.
    """
    entries = [_parse_entry(entry, f"devices, entry {number}") for number, entry in enumerate(text.split(","), 1)]
    for number, entry in enumerate(entries, 1):
        if entry.device == _AUTO and len(entries) > 1:
            raise InvalidDevices(f"devices, entry {number}: auto stands alone; it is all GPUs, or else the CPU")
    hardware = None if all(entry.device == CPU.name for entry in entries) else find()
    specs: dict[str, DeviceSpec] = {}
    for number, entry in enumerate(entries, 1):
        for spec in (entry,) if hardware is None else _resolve(entry, hardware, f"devices, entry {number}"):
            if spec.device in specs:
                raise InvalidDevices(f"devices, entry {number}: {spec.device} is there twice; it has one process")
            specs[spec.device] = spec
    return tuple(specs.values())


def _parse_entry(text: str, place: str) -> DeviceSpec:
    """Parse one entry; `cuda` and `auto` are resolved later."""
    head, *options = (part.strip() for part in text.split(";"))
    device, equals, benchmark = (part.strip() for part in head.partition("="))
    if not _DEVICE.fullmatch(device):
        raise InvalidDevices(f"{place}: {device!r} is no device; {_SYNTAX} would do")
    kind, colon, index = device.partition(":")
    spec = DeviceSpec(f"{kind}:{int(index)}" if colon else kind)
    values = {"benchmark": benchmark} if equals else {}
    for option in options:
        name, equals, value = (part.strip() for part in option.partition("="))
        if name not in ("lanes", "batch", "precision") or not equals:
            raise InvalidDevices(f"{place}: {option!r} is no option; lanes=, batch= and precision= would do")
        if name in values:
            raise InvalidDevices(f"{place}: {option!r}: {name} is there twice")
        values[name] = value
    for name, value in values.items():
        spec = _with_option(spec, name, value, place)
    return spec


def _with_option(spec: DeviceSpec, name: str, value: str, place: str) -> DeviceSpec:
    if name == "batch":
        if not re.fullmatch("[0-9]{1,4}", value) or not 1 <= int(value) <= _MAX_BATCH:
            raise InvalidDevices(f"{place}: batch {value!r}: 1 to {_MAX_BATCH} would do")
        return replace(spec, batch=int(value))
    if value not in _CHOICES[name]:
        raise InvalidDevices(f"{place}: {name} {value!r}: {' or '.join(_CHOICES[name])} would do")
    return replace(spec, **{name: value})  # type: ignore[arg-type]  # checked above to be a value of the Literal


def _resolve(entry: DeviceSpec, hardware: Hardware, place: str) -> tuple[DeviceSpec, ...]:
    """Return the devices of this machine that an entry names."""
    gpus = tuple(replace(entry, device=device) for device in hardware.gpus_by_device)
    if entry.device == _AUTO:
        if hardware.probe_error:
            log.warning(
                "devices: the GPUs of this machine could not be detected (%s); auto uses the CPU instead. Run `maskq "
                "devices` to see what is found; MASKQ_DEVICES=cpu uses the CPU without this warning",
                hardware.probe_error,
            )
        return gpus or (replace(entry, device=CPU.name),)
    if entry.device == CPU.name or entry in gpus:
        return (entry,)
    same_kind = tuple(spec for spec in gpus if spec.accelerator is entry.accelerator)
    if entry.index is None and same_kind:
        return same_kind
    missing = f"there is no {entry.device} device" if entry.index is None else f"{entry.device} is not there"
    reason = f" ({hardware.probe_error})" if hardware.probe_error else ""
    raise InvalidDevices(f"{place}: {missing}{reason}; there are {', '.join(hardware.descriptions)}")
