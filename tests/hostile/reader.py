"""A process that decodes files with maskq: a crash ends only this process, and its memory is decoding's alone.

Run as `python -m tests.hostile.reader`. It reads names, one a line, and answers each with a line of JSON.
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
    """Megabytes of this process's memory: `VmRSS` now, `VmHWM` at its peak. 0 on systems other than Linux."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except FileNotFoundError:
        return 0
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) * 1024 / _MEGABYTE


def _reset_peak() -> None:
    """Let the peak, `VmHWM`, begin anew."""
    path = Path("/proc/self/clear_refs")
    if path.exists():
        path.write_text("5")


def _outcome(data: bytes) -> dict[str, Any]:
    """The outcome of decoding: the error's type and message, or the shape of valid pixels."""
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
        _reset_peak()
        before, began = _memory("VmRSS"), time.monotonic()
        answer = _outcome(data)
        answer |= {"seconds": time.monotonic() - began, "growth": _memory("VmHWM") - before, "rss": _memory("VmRSS")}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
