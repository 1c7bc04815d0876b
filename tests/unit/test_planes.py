"""Planes of stacks: which are chosen, their projections, and the file of one plane."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray

from maskq.segmentation.errors import ImageError, ImageTooLarge, MultiPageImage, NoSuchPlane, TruncatedImage
from maskq.segmentation.images import ChannelKind, Image, ImageLimits, Stack
from maskq.segmentation.images import planes as planes_module
from maskq.segmentation.images.plane_file import MAGIC, encode_plane, read_plane
from maskq.segmentation.images.planes import (
    check_amount,
    check_single_image,
    choose_planes,
    chosen_axes,
    plane_numbers,
    position,
    project,
)

LIMITS = ImageLimits()


def stack_of(planes: NDArray[Any], axes: str = "Z", shape: tuple[int, ...] | None = None) -> Stack:
    """A stack of (N, H, W) planes."""
    size = planes.shape[1], planes.shape[2]
    return Stack(axes, shape or planes.shape[:1], size, lambda index: Image.of(planes[index][..., None]))


SIX = stack_of(np.arange(6, dtype=np.uint8)[:, None, None] + np.zeros((6, 2, 3), np.uint8))
TWO_BY_THREE = stack_of(np.arange(6, dtype=np.uint8)[:, None, None] + np.zeros((6, 2, 3), np.uint8), "TZ", (2, 3))


def projected(planes: NDArray[Any], kind: Any) -> NDArray[Any]:
    return project(stack_of(planes), kind, range(1, len(planes) + 1), "stack").pixels[..., 0]


def test_planes_are_all_a_range_or_one_image() -> None:
    assert choose_planes(SIX, "all", "s.tif") == [1, 2, 3, 4, 5, 6]
    assert choose_planes(SIX, "2-4", "s.tif") == [2, 3, 4]
    assert choose_planes(SIX, "3-3", "s.tif") == [3]
    one = choose_planes(SIX, "5", "s.tif")
    assert isinstance(one, Image) and one.pixels.max() == 4
    assert one.notes == ("Plane 5 of 6 (Z=5).",)


@pytest.mark.parametrize("planes", ["0", "7", "0-3", "4-9", "5-2", "max:5-9"])
def test_a_plane_that_the_stack_does_not_have_is_refused_with_their_number(planes: str) -> None:
    with pytest.raises(NoSuchPlane, match=r"s.tif: no planes .*: the stack has 6 \(Z=6\), so choose from 1 to 6"):
        choose_planes(SIX, planes, "s.tif")


def test_without_the_option_a_stack_is_refused_with_its_axes_and_the_option() -> None:
    two_channels = Stack("Z", (30,), (2, 2), lambda _: Image.of(np.zeros((2, 2, 2), np.uint8)))
    with pytest.raises(
        MultiPageImage,
        match=r"30 planes \(Z=30\) of 2×2 pixels and 2 channels \(C=2\).*planes: all, a number.*channels: 1, 2",
    ):
        choose_planes(two_channels, None, "s.tif")
    with pytest.raises(MultiPageImage, match=r"6 planes \(T=2, Z=3\)"):
        choose_planes(TWO_BY_THREE, None, "s.tif")


def test_one_image_is_its_own_only_plane() -> None:
    for planes in (None, "all", "1", "1-1", "max", "mean:1-1"):
        check_single_image(planes, "i.tif")
    for planes in ("2", "1-3", "max:2-4"):
        with pytest.raises(NoSuchPlane, match="i.tif: one image and no stack"):
            check_single_image(planes, "i.tif")


def test_planes_count_through_all_axes() -> None:
    assert [position(TWO_BY_THREE, number) for number in (1, 3, 4)] == ["T=1 Z=1", "T=1 Z=3", "T=2 Z=1"]
    assert plane_numbers("4-6", TWO_BY_THREE, "s") == [4, 5, 6]
    axes = {
        planes: chosen_axes(TWO_BY_THREE, plane_numbers(planes, TWO_BY_THREE, "s")) for planes in ("all", "4-6", "3-4")
    }
    assert axes == {"all": ("TZ", (2, 3)), "4-6": ("Z", (3,)), "3-4": ("I", (2,))}


def test_too_many_planes_or_bytes_are_refused_before_one_is_read() -> None:
    check_amount(SIX, range(1, 7), 6, 36, "s.tif")
    with pytest.raises(ImageTooLarge, match="s.tif: 6 planes, over the limit of 5; choose a range"):
        check_amount(SIX, range(1, 7), 5, 36, "s.tif")
    with pytest.raises(ImageTooLarge, match="more than 35 bytes together, the limit"):
        check_amount(SIX, range(1, 7), 6, 35, "s.tif")


# Projections


def test_a_projection_along_several_axes_is_refused_and_one_row_is_not() -> None:
    with pytest.raises(MultiPageImage, match=r"T=2, Z=3: a projection goes along Z only; .* one T, such as max:1-3"):
        choose_planes(TWO_BY_THREE, "max", "s.tif")
    image = choose_planes(TWO_BY_THREE, "max:4-6", "s.tif")
    assert isinstance(image, Image) and (image.pixels == 5).all()
    assert image.notes == ("The maximum of planes 4 to 6 of 6 (T=2, Z=3).",)


def test_a_projection_of_too_many_bytes_is_refused_after_one_plane(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []

    def counted(index: int) -> Image:
        read.append(index)
        return SIX.read(index)

    monkeypatch.setattr(planes_module, "_MAX_PROJECTED", 3 * SIX.read(0).pixels.nbytes)
    with pytest.raises(ImageTooLarge, match="choose a range with the option planes"):
        choose_planes(replace(SIX, read=counted), "max", "s.tif")
    assert read == [0]
    assert isinstance(choose_planes(SIX, "max:2-4", "s.tif"), Image)


def test_the_mean_of_integers_is_rounded_and_says_so() -> None:
    planes = np.array([0, 1, 1], np.uint16)[:, None, None] * np.ones((3, 2, 2), np.uint16)
    image = project(stack_of(planes), "mean", [1, 2, 3], "s")
    assert image.pixels.dtype == np.uint16 and (image.pixels == 1).all()
    assert image.notes == ("The mean of planes 1 to 3 of 3 (Z=3), rounded.",)


def test_background_counts_for_nothing_in_a_projection() -> None:
    planes = np.array([[[1, np.nan, np.nan]], [[3, 5, np.nan]]], np.float32)
    np.testing.assert_array_equal(projected(planes, "max"), np.array([[3, 5, np.nan]], np.float32))
    np.testing.assert_array_equal(projected(planes, "mean"), np.array([[2, 5, np.nan]], np.float32))


def test_planes_that_differ_can_not_be_projected() -> None:
    images = [Image.of(np.zeros((2, 2, 1), np.uint8)), Image.of(np.zeros((2, 3, 1), np.uint8))]
    with pytest.raises(MultiPageImage, match="plane 2 is .* several images"):
        project(Stack("Z", (2,), (2, 2), lambda index: images[index]), "max", [1, 2], "s")


NUMBERS = st.sampled_from([np.dtype(kind) for kind in ("u1", "<u2", "<i2", "<i4", "<f4", "<f8", "?")])


@given(
    NUMBERS.flatmap(
        lambda dtype: arrays(
            dtype,
            array_shapes(min_dims=3, max_dims=3, max_side=5),
            elements={"allow_nan": False, "allow_infinity": False, "min_value": -1e6, "max_value": 1e6}
            if dtype.kind == "f"
            else None,
        )
    )
)
def test_a_projection_is_that_of_numpy_in_the_same_type(planes: NDArray[Any]) -> None:
    assert projected(planes, "max").dtype == projected(planes, "mean").dtype == planes.dtype
    np.testing.assert_array_equal(projected(planes, "max"), planes.max(axis=0))
    mean = planes.astype(np.float64).mean(axis=0)
    exact = mean if planes.dtype.kind == "f" else np.rint(mean)
    np.testing.assert_allclose(projected(planes, "mean").astype(np.float64), exact, rtol=1e-6, atol=1e-6)


# The file of a plane


@given(
    st.sampled_from(["<u2", "u1", "<i4", "<f4", ">f8", "?", "<f2", "<u8"]).flatmap(
        lambda dtype: arrays(np.dtype(dtype), array_shapes(min_dims=3, max_dims=3, max_side=6))
    ),
    st.sampled_from(ChannelKind),
    st.lists(st.text(max_size=5), max_size=3).map(tuple),
    st.none() | st.tuples(st.floats(0.01, 10), st.floats(0.01, 10)),
    st.lists(st.text(max_size=20), max_size=2).map(tuple),
)
def test_a_plane_is_read_as_it_was_written(
    pixels: NDArray[Any], kind: ChannelKind, names: Any, pixel_size: Any, notes: Any
) -> None:
    written = Image(pixels, kind, names, pixel_size, notes)
    read = read_plane(encode_plane(written), "plane", LIMITS)
    np.testing.assert_array_equal(read.pixels, pixels)
    assert read.pixels.dtype == pixels.dtype
    assert read.with_pixels(pixels) == written or not np.array_equal(pixels, pixels)


WHOLE = encode_plane(Image.of(np.arange(60, dtype=np.uint16).reshape(5, 4, 3)))


@given(st.integers(len(MAGIC), len(WHOLE) - 1))
def test_a_plane_that_is_cut_short_is_refused(length: int) -> None:
    with pytest.raises(ImageError):
        read_plane(WHOLE[:length], "plane", LIMITS)


@given(st.integers(len(MAGIC), len(WHOLE) - 1), st.integers(1, 255))
def test_a_damaged_plane_is_an_image_or_an_error(offset: int, flip: int) -> None:
    damaged = bytearray(WHOLE)
    damaged[offset] ^= flip
    with suppress(ImageError):
        assert read_plane(bytes(damaged), "plane", LIMITS).pixels.nbytes <= LIMITS.max_decoded


def test_a_plane_is_bounded_by_its_header_before_it_is_decompressed() -> None:
    with pytest.raises(ImageTooLarge, match="5×4 is 20 pixels, over the limit of 19"):
        read_plane(WHOLE, "plane", ImageLimits(max_pixels=19))
    two = encode_plane(Image.of(np.zeros((2, 2, 16), np.uint64)))
    with pytest.raises(ImageTooLarge, match="512 bytes of pixels, over the limit of 48"):
        read_plane(two, "plane", ImageLimits(max_pixels=4))
    small = WHOLE.replace(b"[5,4,3]", b"[5,4,2]")
    with pytest.raises(TruncatedImage, match="cut short or damaged"):
        read_plane(small, "plane", LIMITS)
