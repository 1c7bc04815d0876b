"""Damaged bytes are an image or an `ImageError` that names the file: in our own decoders, and in the checks of headers.

The damaged files go to no outside library.
"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maskq.segmentation.errors import ImageError
from maskq.segmentation.images import Image, ImageLimits, read_image
from maskq.segmentation.images.compressed_segments import check_segment
from tests.image_files import saved
from tests.unit.images_pictures.files import bmp, packed_rows, palette_bytes
from tests.unit.images_pictures.test_bmp import RUNS_4, RUNS_8
from tests.unit.images_pictures.test_compressed_segments import (
    COLOUR,
    JPEG2000,
    JPEG_XL,
    JPEG_XR,
    LERC,
    PNG,
    WEBP,
    segment,
)
from tests.unit.images_pictures.test_pnm import pnm

RANDOM = np.random.default_rng(5)
COLOURS = RANDOM.integers(0, 256, (256, 3), np.uint8)
INDICES = RANDOM.integers(0, 16, (7, 9), np.uint8)
FILES = {
    "bmp-4": bmp(9, 7, 4, packed_rows(INDICES, 4), palette=palette_bytes(COLOURS[:16])),
    "bmp-8": bmp(9, 7, 8, packed_rows(INDICES, 8), palette=palette_bytes(COLOURS), size=12),
    "bmp-24": saved(RANDOM.integers(0, 256, (7, 9, 3), np.uint8), "BMP"),
    "bmp-fields": bmp(4, 4, 16, bytes(range(32)), compression=3, masks=(0xF800, 0x7E0, 0x1F)),
    "bmp-runs-8": bmp(5, 2, 8, RUNS_8, compression=1, palette=palette_bytes(COLOURS)),
    "bmp-runs-4": bmp(5, 2, 4, RUNS_4, compression=2, palette=palette_bytes(COLOURS[:16])),
    "pgm": pnm(INDICES),
}
SEGMENTS = {compression: segment(COLOUR, compression) for compression in (JPEG2000, LERC, PNG, JPEG_XR, WEBP, JPEG_XL)}
#: Offset, byte.
CHANGES = st.lists(st.tuples(st.integers(0, 1 << 16), st.integers(0, 255)), min_size=1, max_size=6)


def damaged(data: bytes, changes: list[tuple[int, int]], length: float) -> bytes:
    changed = bytearray(data[: int(length * len(data))])
    for offset, value in changes:
        if changed:
            changed[offset % min(len(changed), 300)] = value
    return bytes(changed)


@pytest.mark.parametrize("data", FILES.values(), ids=FILES.keys())
@settings(max_examples=100, deadline=None)
@given(CHANGES, st.sampled_from([1, 1, 0.9, 0.5]))
def test_a_damaged_file_is_an_image_within_the_limits_or_an_error(
    data: bytes, changes: list[tuple[int, int]], length: float
) -> None:
    changed = damaged(data, changes, length)
    if changed[:2] != data[:2]:  # of another kind now, maybe one of an outside library
        return
    try:
        image = read_image(changed, "cells", ImageLimits(max_pixels=10_000))
    except ImageError as error:
        assert str(error).startswith("cells: ")
    else:
        assert isinstance(image, Image) and 0 < image.pixels.size <= 40_000


@pytest.mark.parametrize(("compression", "data"), SEGMENTS.items())
@settings(max_examples=100, deadline=None)
@given(CHANGES, st.sampled_from([1, 1, 0.9, 0.5]))
def test_a_damaged_segment_passes_or_is_refused_by_its_check(
    compression: int, data: bytes, changes: list[tuple[int, int]], length: float
) -> None:
    try:
        check_segment(compression, damaged(data, changes, length), 48 * 64, 3, "cells")
    except ImageError as error:
        assert str(error).startswith("cells: ")
