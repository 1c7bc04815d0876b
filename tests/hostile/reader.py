"""A process that decodes whatever it is sent, told apart so that a crash is its own, and its memory is its own.

Run as `python -m tests.hostile.reader`. It takes names, one a line, and answers each with a line of JSON.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from maskq.segmentation.errors import ImageError
from maskq.segmentation.images import decode

from . import LIMITS, make

_MEGABYTE = 2**20


def _memory(field: str) -> float:
    """Megabytes of this process as Linux counts them: `VmRSS` now, `VmHWM` at most; 0 elsewhere."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except FileNotFoundError:
        return 0
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) * 1024 / _MEGABYTE


def _forget_the_peak() -> None:
    path = Path("/proc/self/clear_refs")
    if path.exists():
        path.write_text("5")


def _outcome(data: bytes) -> dict[str, Any]:
    """What came of decoding it: the error's type, or the shape of sound pixels."""
    try:
        pixels = decode(data, "cells", LIMITS)
    except ImageError as error:
        return {"kind": type(error).__name__, "message": str(error)}
    assert pixels.ndim == 3 and pixels.dtype.kind in "buif" and np.isfinite(pixels).all()
    return {"kind": "pixels", "shape": pixels.shape, "message": ""}


def main() -> None:
    logging.disable()
    for line in sys.stdin:
        data = make(line.strip())
        _forget_the_peak()
        before, began = _memory("VmRSS"), time.monotonic()
        answer = _outcome(data)
        answer |= {"seconds": time.monotonic() - began, "grown": _memory("VmHWM") - before, "rss": _memory("VmRSS")}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
