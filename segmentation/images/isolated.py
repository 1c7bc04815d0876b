"""Decode in a process of its own, with limits of memory and time: for decoders that header checks can't make safe.

It takes about 0.3 seconds more than decoding in this process.
"""

import io
import os
import signal
import subprocess
import sys
from typing import Literal

import numpy as np

from ..arrays import Pixels
from ..errors import ImageTooLarge, TruncatedImage
from . import isolated_decoder

#: Address space of Python, NumPy and the decoders before they decode.
_BASE_MEMORY = 2 * 1024**3
#: Decoders work in 32-bit floats, on a copy or two.
_BYTES_PER_SAMPLE = 48
_SECONDS = 60
_MAX_MESSAGE = 200
_ADVICE = "save it as TIFF with deflate, or as PNG"


def decode(reader: Literal["tiff", "jpegxl"], data: bytes, samples: int, name: str, seconds: int = _SECONDS) -> Pixels:
    """The array that a decoder returns for a file of `samples` (height × width × channels).

    `tiff` is the first page as `TiffPage.asarray` gives it; `jpegxl` is (H, W) or (H, W, C). Raises `TruncatedImage` if
    the decoder fails or crashes, `ImageTooLarge` if it needs too much memory or time.
    """
    memory = _BASE_MEMORY + _BYTES_PER_SAMPLE * samples
    # -P: the folder of the script is no place to import from, as it has files such as pillow.py.
    command = [sys.executable, "-P", isolated_decoder.__file__, reader, str(memory), str(seconds)]
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    try:
        done = subprocess.run(
            command, input=data, capture_output=True, timeout=2 * seconds + 5, env=environment, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise ImageTooLarge(f"{name}: not decoded in {2 * seconds + 5} s; {_ADVICE}") from error
    if done.returncode == -signal.SIGXCPU:
        raise ImageTooLarge(f"{name}: not decoded in {seconds} s; {_ADVICE}")
    if done.returncode == isolated_decoder.OUT_OF_MEMORY:
        raise ImageTooLarge(f"{name}: not enough memory to decode it: more than {memory:,} bytes")
    if done.returncode:
        reason = done.stderr.decode(errors="replace").strip().split("\n")[-1][:_MAX_MESSAGE]
        raise TruncatedImage(f"{name}: damaged or cut short ({reason or f'its decoder ended with {done.returncode}'})")
    return np.asarray(np.lib.format.read_array(io.BytesIO(done.stdout), allow_pickle=False))
