"""Detects what this machine can run on, in a process of its own: this one must not import torch.

`python -m maskq.workers.device.hardware` prints the GPUs that torch finds as JSON.
"""

import json
import os
import subprocess
import sys
from collections import Counter
from dataclasses import astuple, dataclass

from celery.utils.sysinfo import cpu_budget

from .accelerators import ACCELERATORS
from .accelerators.base import Gpu

_TIMEOUT_S = 120


@dataclass(frozen=True)
class Hardware:
    """The devices of this machine."""

    #: CPU cores that this process may use, a container's quota included.
    cores: int
    #: Main memory, bytes.
    memory: int
    #: In torch's order for each accelerator, so that GPU number N of `cuda` is `cuda:N`.
    gpus: tuple[Gpu, ...] = ()
    #: Why GPUs could not be detected; empty if they could.
    probe_error: str = ""

    @property
    def gpus_by_device(self) -> dict[str, Gpu]:
        """Each GPU by its device name, such as `cuda:1`."""
        devices, count = {}, Counter[str]()
        for gpu in self.gpus:
            devices[f"{gpu.accelerator}:{count[gpu.accelerator]}"] = gpu
            count[gpu.accelerator] += 1
        return devices

    @property
    def descriptions(self) -> tuple[str, ...]:
        """Every device as an error message lists it, such as `cuda:0 (NVIDIA H100, 80 GiB)`."""
        gpus = (f"{device} ({gpu.name}, {gibibytes(gpu.memory)})" for device, gpu in self.gpus_by_device.items())
        return ("cpu", *gpus)


def detect() -> Hardware:
    """Detect cores, memory and GPUs; takes as long as importing torch does."""
    command = [sys.executable, "-P", "-m", "maskq.workers.device.hardware"]
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    try:
        probe = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        return Hardware(cores(), memory, probe_error=f"torch did not answer in {_TIMEOUT_S} s")
    if probe.returncode:
        lines = probe.stderr.strip().splitlines() or [f"exit {probe.returncode}"]
        return Hardware(cores(), memory, probe_error=lines[-1])
    return Hardware(cores(), memory, tuple(Gpu(*fields) for fields in json.loads(probe.stdout.splitlines()[-1])))


def cores() -> int:
    """Return the number of CPU cores that this process may use: its affinity and its container's quota count."""
    return int(cpu_budget().count)


def gibibytes(size: int) -> str:
    """Format bytes as `80 GiB`."""
    return f"{size / 2**30:.0f} GiB"


if __name__ == "__main__":
    print(json.dumps([astuple(gpu) for accelerator in ACCELERATORS.values() for gpu in accelerator.detect()]))
