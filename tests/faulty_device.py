"""A device process whose device fails on command, run like `maskq.workers.device.process`.

The environment variable `FAULTS` names a file with the heights of the images that will trigger a fault (see `HEIGHTS`);
an image that triggers its fault removes its height from the file.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import torch

from maskq.segmentation.network.inference import Input, RunningBatch
from maskq.segmentation.segmenter import Segmenter
from maskq.workers.device.process import main

FAULTS = "FAULTY_DEVICE_FAULTS"


def crash() -> NoReturn:
    """Exit, as after a segmentation fault in the driver."""
    os._exit(139)


def lose() -> NoReturn:
    """Raise what every call raises once the CUDA context is lost."""
    raise RuntimeError("CUDA error: an illegal memory access was encountered")


def die() -> NoReturn:
    """End the thread."""
    raise SystemExit("the driver is gone")


def hang() -> None:
    """Block for ever, as a kernel that never ends."""
    threading.Event().wait()


def exhaust() -> NoReturn:
    """Raise what torch raises if the GPU's memory is full."""
    raise torch.OutOfMemoryError("CUDA out of memory")


#: Height of the image, rows → fault.
HEIGHTS: dict[int, Callable[[], None]] = {40: crash, 48: lose, 56: die, 64: hang, 72: exhaust}


_start = Segmenter.start


def start(segmenter: Segmenter, batch: list[Input], shape: tuple[int, int]) -> RunningBatch:
    """Trigger the fault that is planned for the image, if any; else call `Segmenter.start`."""
    file = Path(os.environ[FAULTS])
    height = batch[0].planes.shape[1]
    faults = file.read_text().split()
    if str(height) in faults:
        faults.remove(str(height))
        file.write_text(" ".join(faults))
        HEIGHTS[height]()
    return _start(segmenter, batch, shape)


if __name__ == "__main__":
    Segmenter.start = start  # type: ignore[assignment, method-assign]
    main(sys.argv[1])
