"""A device process whose device fails on command: an image's height says how. Run as `maskq.workers.device.process` is.

The file that `FAULTS` names in the environment holds, for every fault to come, the height of the image that will meet
it; each takes its own away.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import torch

from maskq.segmentation.network.inference import Input
from maskq.segmentation.segmenter import Segmenter
from maskq.workers.device.process import main

FAULTS = "FAULTY_DEVICE_FAULTS"


def crash() -> NoReturn:
    """As a segmentation fault in the driver does."""
    os._exit(139)


def lose() -> NoReturn:
    """As every call does once a CUDA context is lost."""
    raise RuntimeError("CUDA error: an illegal memory access was encountered")


def die() -> NoReturn:
    """As a driver that ends the thread."""
    raise SystemExit("the driver is gone")


def hang() -> None:
    """As a kernel that never ends."""
    threading.Event().wait()


def exhaust() -> NoReturn:
    """As a card that is full."""
    raise torch.OutOfMemoryError("CUDA out of memory")


#: What happens to an image of so many rows.
HEIGHTS: dict[int, Callable[[], None]] = {40: crash, 48: lose, 56: die, 64: hang, 72: exhaust}


def start(segmenter: Segmenter, batch: list[Input], *arguments: Any, own: Any = Segmenter.start) -> Any:
    """`Segmenter.start`, but for images that a fault is due for."""
    file = Path(os.environ[FAULTS])
    height = batch[0].planes.shape[1]
    faults = file.read_text().split()
    if str(height) in faults:
        faults.remove(str(height))
        file.write_text(" ".join(faults))
        HEIGHTS[height]()
    return own(segmenter, batch, *arguments)


if __name__ == "__main__":
    Segmenter.start = start  # type: ignore[method-assign]
    main(sys.argv[1])
