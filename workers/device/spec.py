"""Which devices to run: `cuda:0=on,cuda:1=auto,cpu`, one process each.

specification = auto | entry, entry …
entry         = device [=benchmark] [;lanes=…] [;batch=…] [;precision=…]
device        = cpu | cuda:N | cuda (all of them) | auto (all GPUs, else the CPU; alone)
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Literal, get_args

from .hardware import Hardware, look

Benchmark = Literal["on", "off", "auto"]
Lanes = Literal["both", "fixed", "varied"]
Precision = Literal["fp32", "bf16", "fp16"]

_DEVICE = re.compile(r"cpu|cuda|auto|cuda:[0-9]+")
_CHOICES = {"benchmark": get_args(Benchmark), "lanes": get_args(Lanes), "precision": get_args(Precision)}
_MOST_BATCH = 1024


class InvalidDevices(ValueError):
    """The specification can't be read, or names a device that is not there."""


@dataclass(frozen=True)
class DeviceSpec:
    """One device and how its process is set up."""

    #: `cpu` or `cuda:N`, N as torch counts them where the processes are started.
    device: str
    #: Whether cudnn searches for the fastest convolutions of each new shape: `auto` searches where it pays. On a CPU
    #: it is accepted and does nothing.
    benchmark: Benchmark = "auto"
    #: The jobs it takes: those of common shapes (`fixed`), all others (`varied`), or both.
    lanes: Lanes = "both"
    #: Images in a batch at most; 0 is what MASKQ_BATCH_SIZE says. A CPU takes no batches.
    batch: int = 0
    #: What the network computes in.
    precision: Precision = "fp32"

    def __str__(self) -> str:
        options = (f";{f.name}={getattr(self, f.name)}" for f in fields(self)[2:] if getattr(self, f.name) != f.default)
        return f"{self.device}={self.benchmark}{''.join(options)}"

    @classmethod
    def read(cls, text: str) -> DeviceSpec:
        """The device that `str` wrote. Raises `InvalidDevices`."""
        spec = _entry(text, "device")
        if spec.device in ("cuda", "auto"):
            raise InvalidDevices(f"device {text!r}: one device is cpu or cuda:N")
        return spec

    @property
    def index(self) -> str:
        """N of `cuda:N`; empty for the CPU."""
        return self.device.partition(":")[2]

    @property
    def node(self) -> str:
        """The name Flower shows, before the `@`: `gpu0`, `cpu`, `cpu-fixed`."""
        name = f"gpu{self.index}" if self.index else "cpu"
        return name if self.lanes == "both" else f"{name}-{self.lanes}"


def parse(text: str, find: Callable[[], Hardware] = look) -> tuple[DeviceSpec, ...]:
    """The devices of a specification, all of them there: `find` is asked where it names a GPU, or `auto`.

    Raises `InvalidDevices`, saying where and what there is.
    """
    entries = [_entry(entry, f"devices, entry {place}") for place, entry in enumerate(text.split(","), 1)]
    for place, entry in enumerate(entries, 1):
        if entry.device == "auto" and len(entries) > 1:
            raise InvalidDevices(f"devices, entry {place}: auto stands alone; it is all GPUs, or else the CPU")
    there = None if all(entry.device == "cpu" for entry in entries) else find()
    found: dict[str, DeviceSpec] = {}
    for place, entry in enumerate(entries, 1):
        for spec in (entry,) if there is None else _present(entry, there, f"devices, entry {place}"):
            if spec.device in found:
                raise InvalidDevices(f"devices, entry {place}: {spec.device} is there twice; it has one process")
            found[spec.device] = spec
    return tuple(found.values())


def visible(spec: DeviceSpec, environment: Mapping[str, str]) -> str:
    """CUDA_VISIBLE_DEVICES for the device's process: one GPU, by the name that the environment itself gives it."""
    if not spec.index:
        return ""
    here = [name for name in environment.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    return here[int(spec.index)].strip() if int(spec.index) < len(here) else spec.index


def _entry(text: str, place: str) -> DeviceSpec:
    """One entry as it is written, `cuda` and `auto` left for what they may turn out to be."""
    head, *options = (part.strip() for part in text.split(";"))
    device, equals, benchmark = (part.strip() for part in head.partition("="))
    if not _DEVICE.fullmatch(device):
        raise InvalidDevices(f"{place}: {device!r} is no device; cpu, cuda:N, cuda (all of them) or auto would do")
    kind, colon, index = device.partition(":")
    spec = DeviceSpec(f"{kind}:{int(index)}" if colon else kind)
    given = {"benchmark": benchmark} if equals else {}
    for option in options:
        name, equals, value = (part.strip() for part in option.partition("="))
        if name not in ("lanes", "batch", "precision") or not equals:
            raise InvalidDevices(f"{place}: {option!r} is no option; lanes=, batch= and precision= would do")
        if name in given:
            raise InvalidDevices(f"{place}: {option!r}: {name} is there twice")
        given[name] = value
    for name, value in given.items():
        spec = _with(spec, name, value, place)
    return spec


def _with(spec: DeviceSpec, name: str, value: str, place: str) -> DeviceSpec:
    """The same with one option more."""
    if name == "batch":
        if not re.fullmatch("[0-9]{1,4}", value) or not 1 <= int(value) <= _MOST_BATCH:
            raise InvalidDevices(f"{place}: batch {value!r}: 1 to {_MOST_BATCH} would do")
        return replace(spec, batch=int(value))
    if value not in _CHOICES[name]:
        raise InvalidDevices(f"{place}: {name} {value!r}: {' or '.join(_CHOICES[name])} would do")
    return replace(spec, **{name: value})  # type: ignore[arg-type]  # a value of the Literal, as was just seen


def _present(entry: DeviceSpec, there: Hardware, place: str) -> tuple[DeviceSpec, ...]:
    """The devices that an entry is on this machine."""
    gpus = tuple(replace(entry, device=f"cuda:{number}") for number in range(len(there.gpus)))
    if entry.device == "auto":
        return gpus or (replace(entry, device="cpu"),)
    if entry.device == "cuda" and gpus:
        return gpus
    if entry.device == "cpu" or entry in gpus:
        return (entry,)
    missing = f"{entry.device} is not there" if entry.index else "there is no cuda device"
    why = f" ({there.trouble})" if there.trouble else ""
    raise InvalidDevices(f"{place}: {missing}{why}; there are {', '.join(there.names)}")
