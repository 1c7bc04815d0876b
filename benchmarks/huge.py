"""A huge image through the whole queue, compared with one of a megapixel: seconds per megapixel, memory per process.

Both tile a real image of nuclei. The stack is the embedded one with its default settings: Redis, one device process on
`cpu`, one cluster process, and this process as the client, which fetches labels and objects. Memory is each process's
peak of resident memory (VmHWM; Linux).
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
from .processes import program
from .stack_settings import stack_settings

_SMALL, _HUGE, _QUICK = 1000, 10_000, 4000
_ROUNDS = 5


def run(quick: bool, images: Path | None) -> list[Case]:
    """Compare the huge image's time per megapixel with the small one's; `more` has each process's memory, MB."""
    image = _image(images)
    side = _QUICK if quick else _HUGE
    small, huge = (_png(image, length) for length in (_SMALL, side))
    with running(stack_settings()) as stack:
        with Client(settings=stack.settings) as client:

            def segment(data: bytes) -> None:
                assert client.submit(data, name="picture").wait().labels.any()

            segment(small)  # warm-up: models are loaded, threads started
            before = _peaks()
            less = median(timed(lambda: segment(small)) for _ in range(_ROUNDS)) / (_SMALL**2 / 1e6)
            more = timed(lambda: segment(huge)) / (side**2 / 1e6)
        peaks = {f"{name} MB": f"{before.get(name, 0)} to {peak}" for name, peak in _peaks().items()}
    return [Case.seconds(f"{side**2 // 10**6}mp over 1mp, a megapixel", more, less, **peaks)]


def _image(images: Path | None) -> NDArray[np.uint8]:
    """Read the image to tile, as 8 bits."""
    pixels = decode((images or samples()[0]).read_bytes())[..., 0].astype(np.float32)
    low, high = np.percentile(pixels, (0.5, 99.8))
    return np.asarray(((pixels - low) / (high - low) * 255).clip(0, 255), np.uint8)


def _png(image: NDArray[np.uint8], side: int) -> bytes:
    """Tile the image to a square of `side` pixels, as PNG."""
    times = -(-side // min(image.shape))
    stream = io.BytesIO()
    Image.fromarray(np.tile(image, (times, times))[:side, :side]).save(stream, "PNG", compress_level=1)
    return stream.getvalue()


def _peaks() -> dict[str, int]:
    """Return the peak of resident memory, MB, of this process and every process of the stack."""
    peaks: dict[str, int] = {}
    for process in (psutil.Process(), *psutil.Process().children(recursive=True)):
        try:
            match = re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{process.pid}/status").read_text())
            name = "client" if process == psutil.Process() else program(process)
        except (psutil.NoSuchProcess, FileNotFoundError):
            continue
        peaks[name] = max(peaks.get(name, 0), int(match[1]) // 1024 if match else 0)
    return peaks
