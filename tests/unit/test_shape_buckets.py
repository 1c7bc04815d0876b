"""Shape buckets: few shapes, and little waste for the image sizes that are common."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskq.segmentation.network.shape_buckets import STRIDE, aligned_shape, bucket_shape

#: Numbers of images by (height, width) in the two data sets that the models were trained and evaluated on.
NUCLEI = {
    (256, 256): 301,
    (256, 320): 111,
    (520, 696): 79,
    (360, 360): 70,
    (1024, 1024): 16,
    (512, 640): 12,
    (603, 1272): 5,
    (260, 347): 3,
    (1040, 1388): 1,
}
PHASE_CONTRAST = {(1022, 1024): 45}

sides = st.integers(1, 20_000)


def waste(size: tuple[int, int]) -> float:
    """The fraction of the network's input that is padding."""
    return 1 - math.prod(size) / math.prod(bucket_shape(*size))


def mean_waste(images: dict[tuple[int, int], int]) -> float:
    return sum(waste(size) * count for size, count in images.items()) / sum(images.values())


@given(sides, sides)
def test_a_bucket_holds_the_image_and_is_aligned(height: int, width: int) -> None:
    shape = bucket_shape(height, width)
    assert shape[0] >= height and shape[1] >= width
    assert shape[0] % STRIDE == shape[1] % STRIDE == 0
    assert bucket_shape(*shape) == shape


@given(sides, sides)
def test_a_transposed_image_has_the_transposed_bucket(height: int, width: int) -> None:
    assert bucket_shape(width, height) == bucket_shape(height, width)[::-1]


@given(sides, sides, st.integers(0, 3000), st.integers(0, 3000))
def test_a_smaller_image_has_no_larger_bucket(height: int, width: int, less: int, cut: int) -> None:
    smaller = bucket_shape(max(1, height - less), max(1, width - cut))
    if max(height, width) <= 2048:
        assert math.prod(smaller) <= math.prod(bucket_shape(height, width))


def test_there_are_at_most_40_shapes_up_to_2048_x_2048() -> None:
    lengths = range(STRIDE, 2048 + 1, STRIDE)
    shapes = {bucket_shape(height, width) for height in lengths for width in lengths}
    assert len(shapes) == 39
    assert {(256, 256), (360, 360), (1040, 1040), (1040, 1392), (1040, 2048), (2048, 2048)} < shapes
    assert all(max(shape) <= 2048 for shape in shapes)


def test_the_padding_of_real_images_is_three_percent() -> None:
    assert mean_waste(NUCLEI) == pytest.approx(0.028, abs=0.001)
    assert mean_waste(PHASE_CONTRAST) == pytest.approx(0.032, abs=0.001)


@given(st.integers(128, 2048), st.floats(0.5, 2))
def test_at_usual_aspect_ratios_padding_is_less_than_60_percent(width: int, aspect: float) -> None:
    height = round(width * aspect)
    if 128 <= height <= 2048:
        assert waste((height, width)) < 0.6


@given(st.integers(2049, 20_000), st.integers(129, 20_000))
def test_beyond_2048_pixels_little_is_wasted(height: int, width: int) -> None:
    assert waste((height, width)) <= 1 - (16 / 17) ** 2


@given(sides, sides)
def test_an_aligned_shape_is_the_next_multiple_of_8(height: int, width: int) -> None:
    shape = aligned_shape(height, width)
    assert shape[0] % STRIDE == shape[1] % STRIDE == 0
    assert 0 <= shape[0] - height < STRIDE and 0 <= shape[1] - width < STRIDE
