"""What this machine has to run on, asked in a process of its own so that this one stays light.

Run as `python -m maskq.workers.device.hardware`, it prints what torch finds as JSON.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass

from celery.utils.sysinfo import cpu_budget

_PATIENCE_S = 120


@dataclass(frozen=True)
class Gpu:
    """One NVIDIA GPU."""

    #: What its maker calls it.
    name: str
    #: Bytes in all.
    memory: int


@dataclass(frozen=True)
class Hardware:
    """What there is to run on."""

    #: CPU cores that this process may use, a container's quota counted.
    cores: int
    #: Bytes of main memory.
    memory: int
    #: In torch's order, the N of `cuda:N`.
    gpus: tuple[Gpu, ...] = ()
    #: Why torch could not be asked; empty where it could.
    trouble: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        """Every device as an error lists it."""
        gpus = (f"cuda:{n} ({gpu.name}, {gibibytes(gpu.memory)})" for n, gpu in enumerate(self.gpus))
        return ("cpu", *gpus)


def look() -> Hardware:
    """The cores, the memory and the GPUs; takes as long as importing torch does."""
    command = [sys.executable, "-P", "-m", "maskq.workers.device.hardware"]
    try:
        asked = subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE_S, check=False)
    except subprocess.TimeoutExpired:
        return Hardware(cores(), _memory(), trouble=f"torch did not answer in {_PATIENCE_S} s")
    if asked.returncode:
        said = asked.stderr.strip().splitlines() or [f"exit {asked.returncode}"]
        return Hardware(cores(), _memory(), trouble=said[-1])
    found = json.loads(asked.stdout.splitlines()[-1])
    return Hardware(cores(), _memory(), tuple(Gpu(name, memory) for name, memory in found))


def cores() -> int:
    """CPU cores that this process may use: those of its affinity and its container's quota."""
    return int(cpu_budget().count)


def gibibytes(size: int) -> str:
    """Bytes as `80 GiB`."""
    return f"{size / 2**30:.0f} GiB"


def _memory() -> int:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _main() -> None:
    import torch

    found = [torch.cuda.get_device_properties(number) for number in range(torch.cuda.device_count())]
    print(json.dumps([[gpu.name, gpu.total_memory] for gpu in found]))


if __name__ == "__main__":
    _main()
