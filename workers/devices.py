"""Which devices to run: `cuda:0=on,cuda:1=off,cpu`, one process each, with its cudnn benchmark setting."""

from __future__ import annotations

import re
from dataclasses import dataclass

_ENTRY = re.compile(r"(cpu|cuda:(?P<index>[0-9]+))(=(?P<benchmark>on|off))?")


class InvalidDevices(ValueError):
    """The specification can't be read, or names a device that is not there."""


@dataclass(frozen=True)
class DeviceSpec:
    """One device and how its process is set up."""

    #: `cpu` or `cuda:N`, N as the machine counts.
    device: str
    #: Whether cudnn searches for the fastest convolutions of each new shape: pays where shapes repeat.
    benchmark: bool = False

    def __str__(self) -> str:
        return f"{self.device}={'on' if self.benchmark else 'off'}"

    @property
    def index(self) -> str:
        """N of `cuda:N`; empty for the CPU."""
        return self.device.partition(":")[2]

    @property
    def node(self) -> str:
        """The name Flower shows, before the `@`: `gpu0` or `cpu`."""
        return f"gpu{self.index}" if self.index else "cpu"


def parse(text: str) -> tuple[DeviceSpec, ...]:
    """The devices of a specification; `auto` is every GPU, or the CPU where there is none.

    Raises `InvalidDevices`, saying where.
    """
    if text.strip() == "auto":
        return tuple(DeviceSpec(f"cuda:{n}") for n in range(count_gpus())) or (DeviceSpec("cpu"),)
    found: list[DeviceSpec] = []
    for place, entry in enumerate(text.split(","), 1):
        match = _ENTRY.fullmatch(entry.strip())
        if not match:
            raise InvalidDevices(f"devices, entry {place}: {entry!r} is not cpu or cuda:N, with =on or =off after it")
        device = f"cuda:{int(match['index'])}" if match["index"] else "cpu"
        spec = DeviceSpec(device, match["benchmark"] == "on")
        if spec.device in {other.device for other in found}:
            raise InvalidDevices(f"devices, entry {place}: {spec.device} is there twice")
        found.append(spec)
    return tuple(found)


def count_gpus() -> int:
    """NVIDIA GPUs that torch would find, asked in a process of its own so that this one stays light."""
    import subprocess
    import sys

    ask = "import torch; print(torch.cuda.device_count())"
    answer = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, timeout=120, check=False)
    return int(answer.stdout.strip() or 0) if answer.returncode == 0 else 0
