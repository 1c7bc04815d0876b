"""The program of a decoder's process, started by `isolated`: bytes on stdin → a .npy file on stdout.

It imports nothing of maskq, so that it starts in a fifth of a second.
"""

import io
import resource
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any

#: Exit status if there is not enough memory.
OUT_OF_MEMORY = 3


def _tiff(data: bytes) -> Any:
    """The first page, as tifffile gives it, without the parsers of vendor formats."""
    import tifffile

    flags: dict[str, Any] = {f"is_{flag}": False for flag in tifffile.TIFF.FILE_FLAGS}
    with tifffile.TiffFile(io.BytesIO(data), **flags) as file:
        return file.pages.first.asarray(maxworkers=1)


def _jpegxl(data: bytes) -> Any:
    import imagecodecs

    return imagecodecs.jpegxl_decode(data, numthreads=1)


#: What `isolated.decode` can be asked for.
READERS: dict[str, Callable[[bytes], Any]] = {"tiff": _tiff, "jpegxl": _jpegxl}


def main(reader: str, memory: int, seconds: int) -> None:
    """Decode stdin within `memory` bytes of address space and `seconds` of processor time."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 5))
    with suppress(ValueError, OSError):  # macOS has no such limit
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    try:
        import numpy as np

        pixels = np.asarray(READERS[reader](sys.stdin.buffer.read()))
        np.lib.format.write_array(sys.stdout.buffer, pixels, allow_pickle=False)
    except MemoryError:
        sys.exit(OUT_OF_MEMORY)
    except Exception as error:  # decoders raise nearly anything on hostile bytes
        sys.exit(f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
