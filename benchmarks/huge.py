"""A huge image through the whole queue, beside one of a megapixel: seconds a megapixel, and the memory of each process.

Both are made by tiling a real picture of nuclei. The stack is the embedded one with its default settings: Redis, one
device process on `cpu`, one cluster process, and this process as the client, which fetches labels and objects. Memory
is the most that each process ever had resident (VmHWM; Linux).
"""

from __future__ import annotations

import io
import re
from pathlib import Path
from statistics import median

import numpy as np
import psutil
from numpy.typing import NDArray
from PIL import Image

from examples.samples import samples
from maskq.producer.client.client import Client
from maskq.segmentation.images import decode
from maskq.workers.local.stack import running

from .harness import Case, timed
from .stacks import embedded

_SMALL, _HUGE, _QUICK = 1000, 10_000, 4000
_ROUNDS = 5


def run(quick: bool, images: Path | None) -> list[Case]:
    """`ours` is the huge image's time a megapixel, `yardstick` that of a small one; `more` is megabytes a process."""
    picture = _picture(images)
    side = _QUICK if quick else _HUGE
    small, huge = (_png(picture, length) for length in (_SMALL, side))
    with running(embedded()) as stack:
        with Client(settings=stack.settings) as client:

            def through(image: bytes) -> None:
                assert client.submit(image, name="picture").wait().labels.any()

            through(small)  # models loaded, threads started
            before = _peaks()
            less = median(timed(lambda: through(small)) for _ in range(_ROUNDS)) / (_SMALL**2 / 1e6)
            more = timed(lambda: through(huge)) / (side**2 / 1e6)
        peaks = {f"{name} MB": f"{before.get(name, 0)} to {peak}" for name, peak in _peaks().items()}
    return [Case.seconds(f"{side**2 // 10**6}mp over 1mp, a megapixel", more, less, **peaks)]


def _picture(images: Path | None) -> NDArray[np.uint8]:
    """The picture to tile, in 8 bits."""
    pixels = decode((images or samples()[0]).read_bytes())[..., 0].astype(np.float32)
    low, high = np.percentile(pixels, (0.5, 99.8))
    return np.asarray(((pixels - low) / (high - low) * 255).clip(0, 255), np.uint8)


def _png(picture: NDArray[np.uint8], side: int) -> bytes:
    """A square image of `side` pixels a side, as PNG: the picture again and again."""
    times = -(-side // min(picture.shape))
    stream = io.BytesIO()
    Image.fromarray(np.tile(picture, (times, times))[:side, :side]).save(stream, "PNG", compress_level=1)
    return stream.getvalue()


def _peaks() -> dict[str, int]:
    """Of every process of the stack, and of this one, the most megabytes that it ever had resident."""
    found: dict[str, int] = {}
    for process in (psutil.Process(), *psutil.Process().children(recursive=True)):
        try:
            told = re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{process.pid}/status").read_text())
            name = _name(process)
        except (psutil.NoSuchProcess, FileNotFoundError):
            continue
        found[name] = max(found.get(name, 0), int(told[1]) // 1024 if told else 0)
    return found


def _name(process: psutil.Process) -> str:
    if process == psutil.Process():
        return "client"
    command = " ".join(process.cmdline()).replace("valkey-server", "redis-server")
    for name in ("redis-server", "maskq.workers.device.process", "maskq.workers.cluster"):
        if name in command:
            return name.removeprefix("workers.")
    return str(process.name())
