"""The test pictures, as formulas: 28×36 pixels, with no symmetry, so that no flip, turn or negative goes unseen."""

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]

HEIGHT, WIDTH = 28, 36
#: Objects: row, column, radius, brightness.
_DISCS = ((6, 7, 4, 200), (9, 25, 6, 230), (22, 12, 5, 160), (22, 30, 3, 245), (14, 33, 2, 120))


def _grey8() -> Array:
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    picture = 10 + rows // 2 + columns // 3
    for row, column, radius, brightness in _DISCS:
        distance = (rows - row) ** 2 + (columns - column) ** 2
        inside = distance <= radius**2
        picture[inside] = brightness - (40 * distance[inside]) // radius**2
    result: Array = picture.astype(np.uint8)
    return result


GREY8 = _grey8()
#: 16 significant bits: the low byte is no copy of the high one.
GREY16 = (GREY8.astype(np.uint16) * 250 + np.arange(WIDTH, dtype=np.uint16) * 3)[..., None]
GREY8 = GREY8[..., None]
RGB8 = np.concatenate([GREY8, np.roll(GREY8, 7, 1), 255 - GREY8 // 2], axis=2)
RGB16 = np.concatenate([GREY16, np.roll(GREY16, 7, 1), 65535 - GREY16 // 2], axis=2)
#: Never 0: lossless WebP clears colours where alpha is 0.
ALPHA8 = (55 + np.add.outer(5 * np.arange(HEIGHT), np.arange(WIDTH)) % 200).astype(np.uint8)[..., None]
ALPHA16 = ALPHA8.astype(np.uint16) * 257
BILEVEL = GREY8 > 90
#: Indices of a palette of sixteen colours, and the palette.
INDEX4 = GREY8[..., 0] >> 4
COLOURS = np.array([(17 * i, 255 - 13 * i, 53 * i % 256) for i in range(16)], np.uint8)
#: The same for a palette of two.
INDEX1 = BILEVEL[..., 0].astype(np.uint8)
TWO_COLOURS = np.array([(20, 40, 90), (250, 200, 30)], np.uint8)
CMYK8 = np.concatenate([255 - RGB8, GREY8 // 4], axis=2)


def _mixed(cmyk: Array) -> Array:
    """CMYK → RGB as Pillow and PostScript do it without profiles: each colour times what black leaves."""
    ink = cmyk.astype(np.float64) / 255
    return np.rint(255 * (1 - ink[..., :3]) * (1 - ink[..., 3:])).astype(np.uint8)


def _stains(grey: Array, count: int) -> Array:
    """Separate channels, each with its objects in other places."""
    return np.concatenate([np.roll(grey, 5 * i, 0) for i in range(count)], axis=2)


_PICTURES: dict[str, Callable[[], Array]] = {
    "bilevel": lambda: BILEVEL,
    "grey2": lambda: GREY8 >> 6,
    "grey4": lambda: GREY8 >> 4,
    "grey8": lambda: GREY8,
    "grey12": lambda: GREY16 >> 4,
    "grey16": lambda: GREY16,
    "grey32": lambda: GREY16.astype(np.uint32) * 50_001,
    "grey64": lambda: GREY16.astype(np.uint64) * 50_001,
    "int8": lambda: (GREY8.astype(np.int16) - 128).astype(np.int8),
    "int16": lambda: (GREY16.astype(np.int32) - 20_000).astype(np.int16),
    "int32": lambda: GREY16.astype(np.int32) * 3 - 50_000,
    "int64": lambda: GREY16.astype(np.int64) * 3 - 50_000,
    "float16": lambda: (GREY8 / 256).astype(np.float16),
    "float32": lambda: (GREY16 / 65_536 - 0.25).astype(np.float32),
    "float64": lambda: GREY16 / 65_536 - 0.25,
    "la8": lambda: np.concatenate([GREY8, ALPHA8], axis=2),
    "la16": lambda: np.concatenate([GREY16, ALPHA16], axis=2),
    "rgb8": lambda: RGB8,
    "rgb16": lambda: RGB16,
    "rgbfloat32": lambda: (RGB16 / 65_536).astype(np.float32),
    "rgba8": lambda: np.concatenate([RGB8, ALPHA8], axis=2),
    "rgba16": lambda: np.concatenate([RGB16, ALPHA16], axis=2),
    "colours16": lambda: COLOURS[INDEX4],
    "colours2": lambda: TWO_COLOURS[INDEX1],
    "colours16-alpha": lambda: np.concatenate([COLOURS[INDEX4], (255 - 10 * INDEX4)[..., None]], axis=2),
    "colours16-16bit": lambda: COLOURS[INDEX4].astype(np.uint16) * 257,
    "colours2-16bit": lambda: TWO_COLOURS[INDEX1].astype(np.uint16) * 257,
    "rgb10": lambda: RGB8.astype(np.uint16) * 4,
    "bilevel-negative": lambda: ~BILEVEL,
    "planes-as-rgb": lambda: np.concatenate(list(planes("grey8", 3)), axis=2),
    "constant": lambda: np.full_like(GREY8, 7),
    "bilevel-uint8": lambda: BILEVEL.astype(np.uint8),
    "index": lambda: INDEX4[..., None],
    "cmyk8": lambda: CMYK8,
    "grey8-as-rgb": lambda: np.repeat(GREY8, 3, 2),
    "rgb-of-cmyk8": lambda: _mixed(CMYK8),
    "stains2": lambda: _stains(GREY8, 2),
    "stains2-16bit": lambda: _stains(GREY16, 2),
    "stains3": lambda: _stains(GREY8, 3),
    "stains3-16bit": lambda: _stains(GREY16, 3),
    "stains4-16bit": lambda: _stains(GREY16, 4),
    "stains5": lambda: _stains(GREY8, 5),
    "stains5-16bit": lambda: _stains(GREY16, 5),
    "sparse": lambda: _with_gaps(GREY8),
    "sparse-16bit": lambda: _with_gaps(GREY16),
}


def _with_gaps(grey: Array) -> Array:
    """The picture with zeros in its second and third tile of 16×16, from left to right."""
    gaps = grey.copy()
    gaps[:16, 16:] = 0
    return gaps


def picture(name: str) -> Array:
    """(H, W, C) pixels of a test picture."""
    return _PICTURES[name]()


def plane(pixels: Array, index: int) -> Array:
    """The plane of a stack with this index, from 0: the picture, moved to the right."""
    return np.roll(pixels, 3 * index, 1)


def planes(name: str, count: int) -> Array:
    """(count, H, W, C) planes of a test picture."""
    return np.stack([plane(picture(name), index) for index in range(count)])
