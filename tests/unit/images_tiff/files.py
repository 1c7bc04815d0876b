"""TIFF files of several pages, and what the readers make of them."""

from __future__ import annotations

import io
from collections.abc import Iterable
from typing import Any

import numpy as np
import tifffile

from maskq.segmentation.images import Image, Stack, View, read_image
from tests.image_files import Array

_RANDOM = np.random.default_rng(0)


def grey(*shape: int, dtype: str = "u1") -> Array:
    """Random unsigned integers."""
    return _RANDOM.integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)


def written(pixels: Array, **options: Any) -> bytes:
    """What tifffile's `imwrite` writes, by default as BlackIsZero."""
    stream = io.BytesIO()
    tifffile.imwrite(stream, pixels, **{"photometric": "minisblack"} | options)
    return stream.getvalue()


def pages(parts: Iterable[tuple[Array, dict[str, Any]]], **options: Any) -> bytes:
    """A file of one or more pages for each array, with options of its own, by default without metadata."""
    stream = io.BytesIO()
    with tifffile.TiffWriter(stream, **options) as writer:
        for pixels, own in parts:
            writer.write(pixels, **{"photometric": "minisblack", "metadata": None} | own)
    return stream.getvalue()


def image(data: bytes, view: View = View()) -> Image:
    """The file's image."""
    found = read_image(data, "cells", view=view)
    assert isinstance(found, Image), found
    return found


def stack(data: bytes, view: View = View()) -> Stack:
    """The file's stack."""
    found = read_image(data, "cells", view=view)
    assert isinstance(found, Stack), found
    return found


def planes(found: Stack) -> Array:
    """All planes: (…, H, W, C)."""
    read = np.stack([found.read(index).pixels for index in range(found.count)])
    return read.reshape(*found.shape, *read.shape[1:])
