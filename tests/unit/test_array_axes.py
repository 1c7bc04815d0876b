"""An array's axes are plain, or named; clients and workers refuse the same arrays, and never guess."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from maskq import InvalidJob
from maskq.producer.client.arrays import check_shape, npy_bytes
from maskq.producer.client.sources import shape_of
from maskq.segmentation.errors import EmptyImage, ImageError, ImageTooLarge, NotAnImage
from maskq.segmentation.images import ImageLimits, View, decode, read_image
from maskq.segmentation.images.image import ChannelKind, Image, Stack
from tests.image_files import npy

Array = NDArray[Any]
RANDOM = np.random.default_rng(0)


def read(array: Array, axes: str | None = None) -> Image | Stack:
    return read_image(npy(array), "cells.npy", view=View(axes=axes))


def pixels(*shape: int) -> Array:
    return RANDOM.integers(0, 255, shape, np.uint8)


@pytest.mark.parametrize(
    ("shape", "kind"),
    [
        ((12, 9), ChannelKind.GREY),
        ((3, 9), ChannelKind.GREY),
        ((12, 9, 1), ChannelKind.GREY),
        ((12, 9, 3), ChannelKind.RGB),
        ((12, 9, 4), ChannelKind.RGBA),
        ((5, 5, 3), ChannelKind.RGB),
    ],
)
def test_plain_arrays_are_grey_or_rgb(shape: tuple[int, ...], kind: ChannelKind) -> None:
    array = pixels(*shape)
    image = read(array)
    assert isinstance(image, Image) and image.kind is kind
    np.testing.assert_array_equal(image.pixels, array.reshape(*shape[:2], -1))


AMBIGUOUS = [
    (2, 12, 9),
    (3, 12, 9),
    (5, 12, 9),
    (12, 9, 2),
    (12, 9, 5),
    (3, 12, 3),
    (4, 512, 3),
    (512, 4, 3),
    (1, 12, 9),
    (1, 512, 3),
    (2, 2, 3),
    (30, 12, 9),
    (2, 3, 12, 9),
    (1, 1, 1, 12, 9),
]


@pytest.mark.parametrize("shape", AMBIGUOUS)
def test_arrays_that_could_be_read_in_several_ways_are_refused_with_the_choices(shape: tuple[int, ...]) -> None:
    with pytest.raises(NotAnImage, match=r"cells\.npy: .*several ways.*option `axes`, such as .*Y"):
        read(pixels(*shape))
    with pytest.raises(InvalidJob, match=r"cells: .*several ways.*option `axes`, such as .*Y"):
        npy_bytes(pixels(*shape), None, "cells", 10**6)


@pytest.mark.parametrize(
    ("shape", "axes", "kind"),
    [
        ((12, 9), "YX", ChannelKind.GREY),
        ((9, 12), "XY", ChannelKind.GREY),
        ((1, 12, 9), "CYX", ChannelKind.GREY),
        ((2, 12, 9), "CYX", ChannelKind.SEPARATE),
        ((4, 12, 3), "CYX", ChannelKind.SEPARATE),
        ((12, 9, 5), "YXC", ChannelKind.SEPARATE),
        ((12, 9, 3), "YXC", ChannelKind.SEPARATE),
        ((3, 12, 9), "SYX", ChannelKind.RGB),
        ((12, 9, 2), "YXS", ChannelKind.GREY_ALPHA),
        ((4, 12, 9), "SYX", ChannelKind.RGBA),
        ((1, 1, 2, 12, 9), "TZCYX", ChannelKind.SEPARATE),
        ((1, 12, 9, 3), "CYXS", ChannelKind.RGB),
    ],
)
def test_named_axes_are_moved_to_height_width_channels(shape: tuple[int, ...], axes: str, kind: ChannelKind) -> None:
    array = pixels(*shape)
    image = read(array, axes)
    assert isinstance(image, Image) and image.kind is kind
    names = "".join(axis for axis in axes if axis not in "YX") + "YX"
    expected = np.transpose(array, [axes.index(axis) for axis in names])
    expected = np.moveaxis(expected.reshape(-1, *expected.shape[-2:]), 0, -1)
    np.testing.assert_array_equal(image.pixels, expected)
    assert image.pixels.flags.c_contiguous
    assert shape_of(npy(array), axes) == "x".join(map(str, image.pixels.shape[:2]))


@pytest.mark.parametrize(
    ("shape", "axes", "stack_axes"),
    [
        ((4, 12, 9), "ZYX", "Z"),
        ((12, 9, 4), "YXZ", "Z"),
        ((2, 4, 12, 9), "TZYX", "TZ"),
        ((4, 2, 12, 9), "ZTYX", "ZT"),
        ((2, 4, 3, 12, 9), "TZCYX", "TZ"),
        ((1, 4, 3, 12, 9), "TZCYX", "TZ"),
        ((4, 12, 9, 3), "ZYXS", "Z"),
        ((4, 3, 12, 9), "ZCYX", "Z"),
        ((2, 12, 4, 9), "TYZX", "TZ"),
    ],
)
def test_z_and_t_make_a_stack_whose_planes_are_read_in_order(
    shape: tuple[int, ...], axes: str, stack_axes: str
) -> None:
    array = pixels(*shape)
    stack = read(array, axes)
    assert isinstance(stack, Stack) and stack.axes == stack_axes
    assert stack.shape == tuple(shape[axes.index(axis)] for axis in stack_axes)
    assert stack.size == (shape[axes.index("Y")], shape[axes.index("X")])
    for index in range(stack.count):
        place = dict(zip(stack_axes, np.unravel_index(index, stack.shape), strict=True))
        plane = array[tuple(place.get(axis, slice(None)) for axis in axes)]
        left = "".join(axis for axis in axes if axis not in stack_axes)
        if left[-1] in "YX" and len(left) == 3:
            plane = np.moveaxis(plane, 0, -1)
        np.testing.assert_array_equal(stack.read(index).pixels, plane.reshape(*stack.size, -1))


@pytest.mark.parametrize(
    ("shape", "axes", "message"),
    [
        ((3, 12, 9), "YX", "is YX, 2 axes, but the shape is"),
        ((3, 12, 9), "ZCYX", "4 axes"),
        ((3, 12, 9), "ZYY", "needs Y and X"),
        ((3, 12, 9), "CZX", "needs Y and X"),
        ((12, 9, 5), "YXS", "S is 1 to 4 samples"),
        ((2, 12, 9, 3), "CYXS", "not beside C"),
    ],
)
def test_axes_that_do_not_fit_the_array_are_refused_by_clients_and_workers(
    shape: tuple[int, ...], axes: str, message: str
) -> None:
    with pytest.raises(NotAnImage, match=message):
        read(pixels(*shape), axes)
    with pytest.raises(InvalidJob, match=message):
        npy_bytes(pixels(*shape), axes, "cells", 10**6)


@given(
    shape=st.lists(st.sampled_from([0, 1, 2, 3, 4, 5, 9]), max_size=5).map(tuple),
    axes=st.none() | st.text("TZCYXS", min_size=2, max_size=5),
)
@settings(max_examples=500, deadline=None)
def test_clients_refuse_exactly_the_shapes_that_workers_refuse(shape: tuple[int, ...], axes: str | None) -> None:
    def refused(check: Any, error: type[Exception]) -> bool:
        try:
            check()
        except error:
            return True
        return False

    by_client = refused(lambda: check_shape(shape, axes, "cells"), InvalidJob)
    assert by_client == refused(lambda: read(np.zeros(shape, np.uint8), axes), ImageError)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("kind", ["?", "u1", "<u2", ">u2", ">i4", "<f2", ">f8", "g"])
def test_any_order_of_axes_and_bytes_is_read_right(order: Any, kind: str) -> None:
    plain = pixels(7, 11, 3) // 2
    array = np.asarray(plain.astype(kind), order=order)
    found = decode(npy_bytes(array[::-1, ::2], None, "cells", 10**6))
    np.testing.assert_array_equal(found, plain.astype(kind).astype(found.dtype)[::-1, ::2])
    assert found.dtype.isnative and found.flags.c_contiguous


def test_an_array_without_pixels_or_planes_and_too_large_planes_are_refused() -> None:
    for shape, axes in (((0, 9), None), ((9, 0, 3), None), ((0, 9, 9), "ZYX"), ((9, 9, 0), "YXC")):
        with pytest.raises(EmptyImage, match="0 pixels"):
            read(np.zeros(shape, np.uint8), axes)
    with pytest.raises(ImageTooLarge, match="over the limit of 100 pixels"):
        read_image(npy(pixels(2, 12, 9)), limits=ImageLimits(max_pixels=100), view=View(axes="ZYX"))
    with pytest.raises(NotAnImage, match="channels, more than"):
        read(pixels(17, 12, 9), "CYX")


@given(
    hnp.arrays(
        st.sampled_from(["u1", "i2", "f4"]),
        hnp.array_shapes(min_dims=3, max_dims=5, max_side=5),
        elements=st.integers(0, 100),
    ),
    st.data(),
)
@settings(deadline=None)
def test_no_value_is_lost_whatever_the_axes(array: Array, data: st.DataObject) -> None:
    others = data.draw(st.permutations("TZC")).copy()[: array.ndim - 2]
    axes = "".join(data.draw(st.permutations([*others, "Y", "X"])))
    found = read(array, axes)
    planes = [found] if isinstance(found, Image) else [found.read(index) for index in range(found.count)]
    values = np.concatenate([plane.pixels.ravel() for plane in planes])
    np.testing.assert_array_equal(np.sort(values), np.sort(array.ravel()))


def test_nan_is_refused_naming_the_option_or_taken_as_background_with_a_note() -> None:
    array = RANDOM.random((12, 9)).astype(np.float32)
    array[:3], array[5, 5] = np.nan, -np.inf
    with pytest.raises(ImageError, match="28 values are NaN or infinite.*`nan_as_background`"):
        read_image(npy(array))
    image = read_image(npy(array), view=View(nan_as_background=True))
    assert isinstance(image, Image) and image.notes == ("28 of 108 pixels are NaN or infinite: background.",)
    np.testing.assert_array_equal(np.isnan(image.pixels[..., 0]), ~np.isfinite(array))
    stack = read_image(npy(np.stack([array, array])), view=View(axes="ZYX", nan_as_background=True))
    assert isinstance(stack, Stack) and stack.read(1).notes == image.notes
    with pytest.raises(ImageError, match="all values are NaN"):
        read_image(npy(array[:2]), view=View(nan_as_background=True))


@pytest.mark.parametrize("allowed", [False, True])
@pytest.mark.parametrize("kind", ["f4", "u1"])
def test_finite_images_have_no_note_of_nan(kind: str, allowed: bool) -> None:
    image = read_image(npy(np.zeros((9, 9), kind)), view=View(nan_as_background=allowed))
    assert isinstance(image, Image) and image.notes == ()


@pytest.mark.parametrize("shape", [(True, True), (-3, 5), (4, -1)])
def test_sizes_that_are_none_are_no_shape(shape: tuple[int, ...]) -> None:
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": "|u1", "fortran_order": False, "shape": shape})
    assert shape_of(stream.getvalue() + bytes(16)) is None
