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
    done = _run(reader, data, memory, seconds, name)
    if done.returncode == -signal.SIGXCPU:
        raise ImageTooLarge(f"{name}: not decoded in {seconds} s; {_ADVICE}")
    if done.returncode in (isolated_decoder.OUT_OF_MEMORY, -signal.SIGKILL):  # the kernel kills for memory, too
        raise ImageTooLarge(f"{name}: not enough memory to decode it (at most {memory:,} bytes); {_ADVICE}")
    if done.returncode:
        reason = done.stderr.decode(errors="replace").strip().split("\n")[-1][:_MAX_MESSAGE]
        raise TruncatedImage(f"{name}: damaged or cut short ({reason or f'its decoder ended with {done.returncode}'})")
    return np.asarray(np.lib.format.read_array(io.BytesIO(done.stdout), allow_pickle=False))


def _run(reader: str, data: bytes, memory: int, seconds: int, name: str) -> subprocess.CompletedProcess[bytes]:
    """The ended process of a decoder. Raises `ImageTooLarge` if it takes too long or can't be started."""
    # -P: the folder of the script is no place to import from, as it has files such as pillow.py.
    command = [sys.executable, "-P", isolated_decoder.__file__, reader, str(memory), str(seconds)]
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    limit = 2 * seconds + 5
    try:
        return subprocess.run(
            command,
            input=data,
            capture_output=True,
            timeout=limit,
            env=environment,
            check=False,
            start_new_session=True,  # Ctrl-C stops the worker, which finishes its jobs: the decoder goes on
        )
    except subprocess.TimeoutExpired as error:
        raise ImageTooLarge(f"{name}: not decoded in {limit} s; {_ADVICE}") from error
    except OSError as error:
        raise ImageTooLarge(f"{name}: the process of its decoder can't be started ({error}); {_ADVICE}") from error
