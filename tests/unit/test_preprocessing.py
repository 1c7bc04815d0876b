"""The network's input does not depend on the format in which a scene is stored."""

from __future__ import annotations

from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from maskq.segmentation.network.preprocessing import Channels, Normalisation, pad, to_input

Array = NDArray[Any]

CHANNELS: tuple[Channels, ...] = get_args(Channels)
NORMALISATIONS: tuple[Normalisation, ...] = get_args(Normalisation)
SCENE: Array = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)
BOTH = pytest.mark.parametrize("channels", CHANNELS)
EITHER = pytest.mark.parametrize("normalisation", NORMALISATIONS)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 16])
@BOTH
@EITHER
def test_an_input_has_the_channels_of_the_network_first(
    count: int, channels: Channels, normalisation: Normalisation
) -> None:
    planes = to_input(np.ones((6, 9, count), np.uint8), channels, normalisation)
    assert planes.shape == ({"grey": 1, "rgb": 3}[channels], 6, 9)
    assert planes.dtype == np.float32 and planes.flags.c_contiguous


def unit(values: list[int], channels: Channels) -> list[float]:
    """The `unit` input of one pixel, in 255ths."""
    planes = to_input(np.array([[values]], np.uint8), channels, "unit")
    return [round(value * 255, 3) for value in planes.ravel().tolist()]


@pytest.mark.parametrize(
    ("values", "grey"),
    [
        ([40], 40),
        ([40, 200], 40),
        ([100, 0, 0], 29.9),
        ([0, 100, 0], 58.7),
        ([0, 0, 100], 11.4),
        ([0, 0, 100, 200], 11.4),
        ([10, 20, 30, 40, 50], 30),
    ],
    ids=["grey", "grey-alpha", "red", "green", "blue", "blue-alpha", "five"],
)
def test_grey_is_luminance_or_the_first_channel_or_the_mean(values: list[int], grey: float) -> None:
    assert unit(values, "grey") == [pytest.approx(grey)]


@pytest.mark.parametrize(
    ("values", "colour"),
    [
        ([40], [40, 40, 40]),
        ([40, 200], [40, 40, 40]),
        ([1, 2, 3], [1, 2, 3]),
        ([1, 2, 3, 200], [1, 2, 3]),
        ([1, 2, 3, 4, 5], [1, 2, 3]),
    ],
    ids=["grey", "grey-alpha", "rgb", "rgb-alpha", "five"],
)
def test_rgb_repeats_grey_and_drops_further_channels(values: list[int], colour: list[float]) -> None:
    assert unit(values, "rgb") == colour


@pytest.mark.parametrize(
    ("pixels", "expected"),
    [
        (np.array([True, False]), [1, 0]),
        (np.array([0, 51, 255], np.uint8), [0, 0.2, 1]),
        (np.array([0, 65535], np.uint16), [0, 1]),
        (np.array([-127, 127], np.int8), [-1, 1]),
        (np.array([0, 2**32 - 1], np.uint32), [0, 1]),
        (np.array([0, 2**64 - 1], np.uint64), [0, 1]),
        (np.array([-0.5, 7.25], np.float32), [-0.5, 7.25]),
        (np.array([-0.5, 7.25], np.float16), [-0.5, 7.25]),
        (np.array([1e300, -1e300]), [np.finfo(np.float32).max, -np.finfo(np.float32).max]),
    ],
    ids=lambda value: str(value.dtype) if isinstance(value, np.ndarray) else "",
)
def test_unit_divides_integers_by_their_maximum_and_keeps_bool_and_floats(pixels: Array, expected: list[float]) -> None:
    np.testing.assert_allclose(to_input(pixels.reshape(1, -1, 1), "grey", "unit").ravel(), expected, rtol=1e-6)


STORED = {
    "uint16": SCENE.astype(np.uint16) * 257,
    "uint16-dim": SCENE.astype(np.uint16) + 3000,
    "big-endian": (SCENE.astype(np.uint16) * 257).astype(">u2"),
    "int16": SCENE.astype(np.int16) - 300,
    "uint32-far-from-0": SCENE.astype(np.uint32) + 4_000_000_000,
    "int64": SCENE.astype(np.int64) * 2**40 - 2**50,
    "uint64": SCENE.astype(np.uint64) << np.uint64(56),
    "float16": (SCENE / 256).astype(np.float16),
    "float32": (SCENE / 255).astype(np.float32),
    "float64": SCENE / 255,
    "float64-tiny": SCENE * 1e-30,
    "float64-denormal": SCENE * 1e-315,
    "float32-huge": (SCENE / 255 * 3.4e38).astype(np.float32),
    "float64-huge": SCENE / 255 * 1.7e308,
    "float64-both-signs-huge": (SCENE / 127.5 - 1) * 1.7e308,
}


@pytest.mark.parametrize("stored", STORED.values(), ids=STORED.keys())
@BOTH
def test_a_scene_gives_one_input_however_it_is_stored(stored: Array, channels: Channels) -> None:
    np.testing.assert_allclose(
        to_input(stored, channels, "percentile"), to_input(SCENE, channels, "percentile"), atol=1e-4
    )


@given(
    pixels=hnp.arrays(
        st.sampled_from([np.uint8, np.uint16]), hnp.array_shapes(min_dims=3, max_dims=3, min_side=1, max_side=9)
    )
)
@BOTH
def test_normalisation_by_table_equals_normalisation_by_arithmetic(pixels: Array, channels: Channels) -> None:
    assume(np.ptp(pixels) > 0)  # otherwise only rounding is left, of float32 and of float64
    # int32 is computed in float64, at another scale
    np.testing.assert_allclose(
        to_input(pixels, channels, "percentile"),
        to_input(pixels.astype(np.int32), channels, "percentile"),
        atol=1e-4,
    )


def test_percentiles_put_most_of_a_scene_between_0_and_1_and_clip_the_rest() -> None:
    pixels = np.random.default_rng(0).normal(500, 20, (100, 100, 1))
    pixels[3, 4], pixels[5, 6] = 1e6, -1e6
    plane = to_input(pixels, "grey", "percentile")[0]
    assert (plane.min(), plane.max()) == (-1, 3) and plane[3, 4] == 3 and plane[5, 6] == -1
    assert np.percentile(plane, (1, 99.8)) == pytest.approx([0, 1], abs=1e-5)


def test_each_channel_is_normalised_separately() -> None:
    dim = SCENE // [1, 2, 4]
    planes = to_input(dim.astype(np.uint8), "rgb", "percentile")
    assert np.percentile(planes, 99.8, axis=(1, 2)) == pytest.approx([1, 1, 1], abs=1e-5)


def test_a_large_image_is_normalised_by_a_sample_of_its_pixels() -> None:
    ramp = np.tile(np.linspace(0, 1000, 2000, dtype=np.float32), (1200, 1))[..., None]
    plane = to_input(ramp, "grey", "percentile")[0]
    assert np.percentile(plane, (1, 99.8)) == pytest.approx([0, 1], abs=5e-3)


@pytest.mark.parametrize("value", [0, 1, 200])
@pytest.mark.parametrize("kind", ["?", "u1", "u2", "i4", "u8", "f2", "f4", "f8"])
@BOTH
def test_a_flat_image_becomes_0(kind: str, value: int, channels: Channels) -> None:
    assert not to_input(np.full((8, 8, 3), value).astype(kind), channels, "percentile").any()


@pytest.mark.parametrize("kind", ["u1", "u2", "i4", "u8"])
def test_rounding_of_the_luminance_of_a_flat_colour_is_not_amplified(kind: str) -> None:
    for value in range(1, 256, 3):
        plane = to_input(np.full((3, 1, 3), value).astype(kind), "grey", "percentile")
        assert np.abs(plane).max() < 0.2, value


def test_rounding_in_a_flat_float_image_is_not_amplified() -> None:
    noise = np.random.default_rng(0).choice([1, np.nextafter(np.float32(1), np.float32(2))], (40, 40, 1))
    assert np.abs(to_input(noise.astype(np.float32), "grey", "percentile")).max() < 0.2


def test_a_faint_integer_scene_far_from_0_is_not_taken_for_rounding() -> None:
    plane = to_input(SCENE[..., :1].astype(np.uint32) + 4_000_000_000, "grey", "percentile")
    assert plane.max() >= 1


@settings(deadline=None, max_examples=300)
@given(
    hnp.arrays(
        st.sampled_from(["?", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f2", "f4", "f8"]),
        hnp.array_shapes(min_dims=3, max_dims=3, max_side=6),
        elements={"allow_nan": False, "allow_infinity": False},
    ),
    st.sampled_from(CHANNELS),
    st.sampled_from(NORMALISATIONS),
)
def test_any_finite_pixels_give_a_finite_input(pixels: Array, channels: Channels, normalisation: Normalisation) -> None:
    planes = to_input(pixels, channels, normalisation)
    assert np.isfinite(planes).all()
    assert normalisation == "unit" or (planes.min() >= -1 and planes.max() <= 3)


@pytest.mark.parametrize("value", [1e38, 3.4e38, 1.7e308, 1e-45, 5e-324])
@pytest.mark.parametrize("count", [1, 3, 5, 16])
@BOTH
@EITHER
def test_values_at_the_ends_of_a_float_stay_finite(
    value: float, count: int, channels: Channels, normalisation: Normalisation
) -> None:
    pixels = np.random.default_rng(0).choice([-value, 0, value], (9, 9, count))
    assert np.isfinite(to_input(pixels, channels, normalisation)).all()


@pytest.mark.parametrize("kind", ["f2", "f4", "f8"])
@BOTH
@EITHER
def test_nan_becomes_0_and_does_not_shift_the_percentiles(
    kind: str, channels: Channels, normalisation: Normalisation
) -> None:
    scene = SCENE[..., :1].astype(kind) / 255
    bordered = np.full((60, 70, 1), np.nan, kind)
    bordered[10:50, 10:60] = scene
    planes = to_input(bordered, channels, normalisation)
    np.testing.assert_allclose(planes[:, 10:50, 10:60], to_input(scene, channels, normalisation), atol=1e-6)
    assert not planes[:, :10].any() and not planes[:, :, 60:].any()


@pytest.mark.parametrize("count", [1, 3])
def test_an_image_of_nan_alone_and_one_without_nan_in_the_sample_become_finite(count: int) -> None:
    nothing = np.full((9, 9, count), np.nan)
    assert not to_input(nothing, "grey", "percentile").any()
    large = np.full((1100, 1100, count), np.nan)
    large[1::2, 1::2] = np.arange(550 * 550).reshape(550, 550, 1)  # the sample takes every second row and column
    plane = to_input(large, "grey", "percentile")[0]
    assert np.isfinite(plane).all() and plane.max() > 0.9


@pytest.mark.parametrize("kind", ["u1", "u2", "i4", "f4"])
def test_a_constant_image_with_a_hot_pixel_is_0_but_for_that_pixel(kind: str) -> None:
    pixels = np.full((64, 64, 1), 40, kind)
    pixels[5, 6] = 99
    plane = to_input(pixels, "grey", "percentile")[0]
    assert plane[5, 6] == 3 and np.count_nonzero(plane) == 1


def test_pixels_are_not_modified() -> None:
    pixels = SCENE.copy()
    for channels in CHANNELS:
        for normalisation in NORMALISATIONS:
            to_input(pixels, channels, normalisation)
    np.testing.assert_array_equal(pixels, SCENE)


# Size


def test_padding_repeats_the_last_row_and_column_and_keeps_the_image() -> None:
    image = np.random.default_rng(0).random((2, 65, 30), np.float32)
    padded = pad(image)
    assert padded.shape == (2, 72, 32) and padded.dtype == np.float32
    np.testing.assert_array_equal(padded[:, :65, :30], image)
    np.testing.assert_array_equal(padded[:, 65:, :30], np.repeat(image[:, -1:], 7, 1))
    np.testing.assert_array_equal(padded[:, :, 30:], np.repeat(padded[:, :, 29:30], 2, 2))


def test_sides_that_are_multiples_of_8_are_not_padded() -> None:
    image = np.random.default_rng(0).random((1, 264, 8), np.float32)
    np.testing.assert_array_equal(pad(image), image)
