"""Pixels that stand in the file in one piece, as most do: they need no decoder.

A stack in one directory has its other planes behind those of its page, and its page does not say so.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import ImageTooLarge, MultiPageImage, NotAnImage, TruncatedImage
from ..checks import ImageLimits
from .directory import (
    BITS,
    FILL_ORDER,
    PLANAR,
    PREDICTOR,
    SAMPLE_FORMAT,
    STRIP_COUNTS,
    STRIP_OFFSETS,
    TILE_OFFSETS,
    Directory,
)
from .segments import Window

#: Planes of a stack, which take memory before they are read.
MAX_PLANES = 1 << 16
_NONE = 1
_BY_BAND = 2
#: NumPy's letter of TIFF's sample formats, and the bits of each that NumPy has.
_LETTERS = {1: "u", 2: "i", 3: "f"}
_WHOLE_BYTES = {1: (8, 16, 32, 64), 2: (8, 16, 32, 64), 3: (16, 32, 64)}


def count_planes(page: Directory, data: bytes) -> int:
    """How many planes fit into the file from the page's pixels on; 0 if these are not stored in one piece."""
    stored = _stored(page, data)
    if stored is None:
        return 0
    start, dtype, size, _ = stored
    return max(0, len(data) - start) // (size * dtype.itemsize)


def plane_start(page: Directory, index: int, data: bytes) -> tuple[int, int] | None:
    """Where the plane `index` behind the page's begins, and bytes per sample; None if it is not in one piece."""
    stored = _stored(page, data)
    return stored and (stored[0] + index * stored[2] * stored[1].itemsize, stored[1].itemsize)


def check_planes(page: Directory, count: int, data: bytes, name: str) -> None:
    """Raises an `ImageError` unless the page's plane and those behind it are `count` in all.

    They are `TruncatedImage` if the file is too short, `NotAnImage` if the page is not stored in one piece, and
    `MultiPageImage` for too many.
    """
    if _stored(page, data) is None:
        raise NotAnImage(
            f"{name}: a stack of {count:,} planes of which the TIFF has one page; save every plane as a page of its own"
        )
    if count > MAX_PLANES:
        raise MultiPageImage(f"{name}: a TIFF of more than {MAX_PLANES:,} planes; send it in parts")
    if count > count_planes(page, data):
        raise TruncatedImage(
            f"{name}: cut short: {len(data):,} bytes end before the last of {count:,} planes; copy or save it again"
        )


def read_uncompressed(
    page: Directory, data: bytes, index: int, part: Window, name: str, limits: ImageLimits, sample: int | None = None
) -> NDArray[Any] | None:
    """(separate samples, H, W, interleaved samples) of a part of the page, or of the plane `index` behind it.

    With `sample`, a number from 0, only that sample is read.
    None if the pixels are not in one piece. Raises `ImageTooLarge` and `TruncatedImage`.
    """
    stored = _stored(page, data)
    if stored is None:
        return None
    start, dtype, size, end = stored
    start += index * size * dtype.itemsize
    samples = page.samples if sample is None else 1
    wanted = part.height * part.width * samples * dtype.itemsize
    if wanted > limits.max_decoded:
        raise ImageTooLarge(
            f"{name}: {(part.height, part.width, samples)} {dtype} is {wanted:,} bytes of pixels, over the limit "
            f"of {limits.max_decoded:,} bytes"
        )
    if max(end, start + size * dtype.itemsize) > len(data):
        raise TruncatedImage(f"{name}: cut short: {len(data):,} bytes end before the image does; copy or save it again")
    by_band = page.tags.get(PLANAR, 1) == _BY_BAND
    shape = (page.samples, *page.size, 1) if by_band else (1, *page.size, page.samples)
    pixels = np.frombuffer(data, dtype, size, start).reshape(shape)
    if sample is not None:
        pixels = pixels[sample, None] if by_band else pixels[..., sample, None]
    window = pixels[:, part.top : part.top + part.height, part.left : part.left + part.width]
    return window.astype(dtype.newbyteorder("="))


def _stored(page: Directory, data: bytes) -> tuple[int, np.dtype[Any], int, int] | None:
    """Offset, type and number of the samples of a page that is stored in one piece, and where its strips end."""
    tags = page.tags
    if (
        page.compression != _NONE
        or page.depth != 1
        or tags.get(FILL_ORDER, 1) != 1
        or tags.get(PREDICTOR, 1) != 1
        or TILE_OFFSETS in page.index
    ):
        return None
    bits, formats = _only(page, data, BITS, 1), _only(page, data, SAMPLE_FORMAT, 1)
    offsets, lengths = page.values(data, STRIP_OFFSETS).tolist(), page.values(data, STRIP_COUNTS).tolist()
    if bits not in _WHOLE_BYTES.get(formats, ()) or not offsets or len(offsets) != len(lengths) or not all(lengths):
        return None
    size = page.size[0] * page.size[1] * page.samples
    if len(offsets) > 1:
        ends = (start + length for start, length in zip(offsets, lengths, strict=True))
        if any(end != start for end, start in zip(ends, offsets[1:], strict=False)) or sum(lengths) != size * bits // 8:
            return None
    if not offsets[0] or not size:
        return None
    dtype = np.dtype(f"{page.layout.word[0]}{_LETTERS[formats]}{bits // 8}")
    return offsets[0], dtype, size, offsets[-1] + lengths[-1]


def _only(page: Directory, data: bytes, tag: int, default: int) -> int:
    """The one value that all samples have; 0 if they differ."""
    values = page.values(data, tag).tolist()[: page.samples] or [default]
    return int(values[0]) if values.count(values[0]) == len(values) else 0
