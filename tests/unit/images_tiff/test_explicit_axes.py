"""Axes of a file's own metadata say what the samples of a pixel are, whatever its tags call them."""

from __future__ import annotations

import io
import warnings
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from maskq.segmentation.errors import MultiPageImage, NoSuchPlane, NotAnImage, TruncatedImage
from maskq.segmentation.images import ChannelKind, ImageLimits, Stack, View, read_image
from maskq.segmentation.images.planes import check_single_image, choose_planes
from maskq.segmentation.images.tiff import scene
from tests.image_files import Array, raw_tiff

from .files import grey, image, planes, stack, written

COMPRESSIONS = [None, "zstd"]


def by_default(pixels: Array, axes: str | None, **options: Any) -> bytes:
    """What tifffile writes if it is not told a colour space: three or four planes are RGB to it."""
    options = {"photometric": None, "metadata": {"axes": axes} if axes else {}} | options
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # tifffile advises to name the colour space
        return written(pixels, **options)


def as_tifffile(data: bytes) -> tuple[str, Array]:
    """Axes and pixels of the first series."""
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        return file.series[0].axes, file.series[0].asarray()


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("dtype", ["u1", "u2"])
@pytest.mark.parametrize(
    ("axes", "shape"),
    [
        ("ZYX", (3, 20, 30)),
        ("TYX", (3, 20, 30)),
        ("ZYX", (4, 20, 30)),
        ("YXZ", (20, 30, 3)),
        ("YXT", (20, 30, 4)),
        ("TZYX", (2, 3, 20, 30)),
        ("ZTYX", (2, 4, 20, 30)),
        ("CZYX", (2, 3, 20, 30)),
        ("TYXZ", (2, 20, 30, 3)),
    ],
)
def test_samples_that_axes_call_planes_are_planes(
    axes: str, shape: tuple[int, ...], dtype: str, compression: str | None
) -> None:
    pixels = grey(*shape, dtype=dtype)
    data = by_default(pixels, axes, compression=compression)
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        assert file.pages.first.photometric == tifffile.PHOTOMETRIC.RGB
    assert as_tifffile(data)[0] == axes
    outer = axes.translate({ord(axis): None for axis in "CYX"})
    expected = np.moveaxis(pixels, [axes.index(axis) for axis in outer + "YX"], range(len(outer) + 2))
    found = stack(data)
    assert (found.axes, found.size) == (outer, (20, 30))
    np.testing.assert_array_equal(planes(found), expected if "C" in axes else expected[..., None])
    assert found.read(0).kind is (ChannelKind.SEPARATE if "C" in axes else ChannelKind.GREY)


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize(("axes", "shape"), [("CYX", (3, 20, 30)), ("CYX", (4, 20, 30)), ("YXC", (20, 30, 3))])
def test_samples_that_axes_call_channels_are_separate(
    axes: str, shape: tuple[int, ...], compression: str | None
) -> None:
    pixels = grey(*shape)
    found = image(by_default(pixels, axes, compression=compression))
    assert found.kind is ChannelKind.SEPARATE and not found.by_band
    np.testing.assert_array_equal(found.pixels, np.moveaxis(pixels, axes.index("C"), -1))


@pytest.mark.parametrize(("axes", "shape"), [("SYX", (3, 20, 30)), ("YXS", (20, 30, 3))])
def test_samples_that_axes_call_samples_are_colours(axes: str, shape: tuple[int, ...]) -> None:
    found = image(by_default(grey(*shape), axes))
    assert found.kind is ChannelKind.RGB and not found.by_band and not found.notes


def test_a_part_of_a_plane_that_is_a_sample_is_read() -> None:
    pixels = grey(3, 40, 50)
    for options in ({}, {"tile": (16, 16)}, {"compression": "deflate"}):
        found = stack(by_default(pixels, "ZYX", **options), View(region=(10, 5, 20, 30)))
        np.testing.assert_array_equal(planes(found)[..., 0], pixels[:, 5:35, 10:30])


def test_a_plane_that_is_a_sample_may_have_as_many_pixels_as_a_grey_one() -> None:
    data = by_default(grey(4, 20, 30), "ZYX")
    found = read_image(data, "cells", ImageLimits(max_pixels=600))
    assert isinstance(found, Stack) and found.read(3).pixels.shape == (20, 30, 1)


def test_too_many_samples_that_are_planes_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scene, "MAX_PLANES", 8)
    with pytest.raises(MultiPageImage, match="a TIFF of more than 8 planes"):
        stack(by_default(grey(3, 3, 8, 8), "TZYX"))


def test_ome_that_names_as_many_planes_as_the_page_has_samples_wins_over_its_colours() -> None:
    text = (
        '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image ID="Image:0"><Pixels '
        'DimensionOrder="XYZCT" Type="uint8" SizeX="9" SizeY="8" SizeZ="3" SizeC="1" SizeT="1">'
        '<Channel SamplesPerPixel="1"/><TiffData/></Pixels></Image></OME>'
    )
    pixels = grey(3, 8, 9)
    found = stack(by_default(pixels, None, metadata=None, description=text))
    assert found.axes == "Z"
    np.testing.assert_array_equal(planes(found)[..., 0], pixels)


# Without axes


def test_colours_by_band_without_axes_are_rgb_and_no_stack() -> None:
    for data in (by_default(grey(3, 20, 30), None), by_default(grey(3, 20, 30), None, metadata=None)):
        found = image(data)
        assert found.kind is ChannelKind.RGB and found.by_band
        assert found.notes == (
            "Taken as RGB, as its tag says; if its samples are the planes of a stack, save it with the axes.",
        )
        check_single_image(None, "cells", found)
        for option in ("all", "1", "1-3", "max", "mean:1-1"):
            with pytest.raises(NoSuchPlane, match="cells: one RGB image and no stack by its tags.*'axes': 'ZYX'"):
                check_single_image(option, "cells", found)


def test_interleaved_colours_without_axes_may_be_in_a_folder_of_stacks() -> None:
    found = image(by_default(grey(20, 30, 3), None))
    assert not found.by_band
    check_single_image("all", "cells", found)


# The description of old versions


@pytest.mark.parametrize("text", ["shape=(3, 8, 9)", "shape=(3,8,9)\n"])
def test_a_stack_by_an_old_tifffile_in_one_directory_is_all_its_planes(text: str) -> None:
    pixels, raw = grey(3, 8, 9), text.encode() + b"\0"
    tags = {256: (4, [9]), 257: (4, [8]), 278: (4, [8]), 270: (2, raw), 279: (4, [72])}
    data = raw_tiff(tags | {273: (4, [16 + len(raw)])}, raw + pixels.tobytes())
    assert as_tifffile(data)[0] == "QYX"
    found = stack(data)
    assert (found.axes, found.shape) == ("Q", (3,))
    np.testing.assert_array_equal(planes(found)[..., 0], pixels)
    with pytest.raises(TruncatedImage, match="before the last of 9 planes; copy or save it again"):
        read_image(data.replace(b"shape=(3", b"shape=(9"), "cells")


@pytest.mark.parametrize("text", ["shape=(8, 8)", "shape=(3, 8", "shape=(a, 8, 8)", "shape=()"])
def test_an_old_description_of_one_image_or_of_nothing_is_one_image(text: str) -> None:
    assert image(raw_tiff({270: (2, text.encode() + b"\0")})).pixels.shape == (8, 8, 1)


# Channels last


@settings(deadline=None, max_examples=30)
@given(st.sampled_from([2, 5]), st.sampled_from(["u1", ">u2", "f4"]), st.booleans(), st.booleans())
def test_channels_last_are_channels_if_the_axes_say_so(samples: int, dtype: str, several: bool, big: bool) -> None:
    pixels = grey(*((3,) if several else ()), 24, 20, samples).astype(dtype)
    data = by_default(pixels, "ZYXC" if several else "YXC", bigtiff=big)
    found = read_image(data, "cells")
    if several:
        assert isinstance(found, Stack) and (found.axes, found.shape, found.size) == ("Z", (3,), (24, 20))
        assert found.read(0).kind is ChannelKind.SEPARATE
        np.testing.assert_array_equal(planes(found), pixels)
    else:
        assert not isinstance(found, Stack) and found.kind is ChannelKind.SEPARATE
        np.testing.assert_array_equal(found.pixels, pixels)


def test_planes_last_are_planes_if_the_axes_say_so_however_many() -> None:
    pixels = grey(30, 24, 40)
    found = stack(by_default(pixels, "YXZ"))
    assert (found.axes, found.shape, found.size) == ("Z", (40,), (30, 24))
    np.testing.assert_array_equal(planes(found)[..., 0], np.moveaxis(pixels, 2, 0))
    window = stack(by_default(pixels, "YXZ"), View(region=(2, 3, 10, 20)))
    np.testing.assert_array_equal(planes(window)[..., 0], np.moveaxis(pixels, 2, 0)[:, 3:23, 2:12])


def test_too_many_channels_last_are_refused() -> None:
    with pytest.raises(NotAnImage, match="17 channels, more than 16"):
        read_image(by_default(grey(30, 24, 17), "YXC"), "cells")


@pytest.mark.parametrize(
    ("axes", "shape", "options"),
    [("YXC", (24, 20, 5), {"compression": "zstd"}), ("YCX", (24, 5, 20), {})],
)
def test_pages_that_are_rows_and_can_not_be_joined_are_refused(
    axes: str, shape: tuple[int, ...], options: dict[str, Any]
) -> None:
    with pytest.raises(MultiPageImage, match=f"24 pages of .* with the axes {axes}, so a page is no image; save it"):
        read_image(by_default(grey(*shape), axes, **options), "cells")


@pytest.mark.parametrize("metadata", [{}, None])
@pytest.mark.parametrize("samples", [2, 5, 16])
def test_channels_last_without_axes_are_refused_with_what_to_write(
    samples: int, metadata: dict[str, Any] | None
) -> None:
    data = written(grey(64, 80, samples), metadata=metadata)
    with pytest.raises(MultiPageImage, match=f"64 pages of 80×{samples} pixels without axes.*'axes': 'YXC'"):
        read_image(data, "cells")


def test_small_planes_are_no_rows_if_the_axes_say_so_or_they_are_few() -> None:
    assert stack(written(grey(64, 80, 2), metadata={"axes": "TYX"})).count == 64
    assert stack(written(grey(9, 8, 8), metadata={})).count == 9


# The refusal of a stack


@pytest.mark.parametrize(
    ("axes", "shape", "text"),
    [
        ("ZYX", (7, 20, 30), r"7 planes \(Z=7\) of 20×30 pixels, not one image; .* option planes: all, .* or mean$"),
        (
            "TZCYX",
            (2, 3, 2, 20, 30),
            r"6 planes \(T=2, Z=3\) of 20×30 pixels and 2 channels \(C=2\), .* option channels: 1, 2$",
        ),
        ("ZYXS", (2, 20, 30, 3), r"2 planes \(Z=2\) of 20×30 pixels, RGB, not one image; .* or mean$"),
    ],
)
def test_a_stack_is_refused_with_its_size_and_channels(axes: str, shape: tuple[int, ...], text: str) -> None:
    with pytest.raises(MultiPageImage, match=f"cells: a stack of {text}"):
        choose_planes(stack(by_default(grey(*shape), axes)), None, "cells")
