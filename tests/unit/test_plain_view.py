"""Options of a file's part are honoured or refused, whatever the format."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image as Pillow

from maskq.producer.schema import Options
from maskq.segmentation.errors import InapplicableOption
from maskq.segmentation.images import Image, View, read_image
from maskq.segmentation.images.plane_file import encode_plane
from maskq.tasks.image_options import view_of

PIXELS = np.arange(64 * 80, dtype=np.uint16).reshape(64, 80)


def png() -> bytes:
    stream = io.BytesIO()
    Pillow.fromarray(PIXELS).save(stream, "PNG")
    return stream.getvalue()


def npy(pixels: np.ndarray = PIXELS) -> bytes:
    stream = io.BytesIO()
    np.save(stream, pixels)
    return stream.getvalue()


@pytest.mark.parametrize("data", [png(), npy()], ids=["png", "npy"])
def test_a_region_is_cut_out(data: bytes) -> None:
    part = read_image(data, view=View(region=(3, 5, 20, 10), scene=1, level=0))
    assert isinstance(part, Image)
    np.testing.assert_array_equal(part.pixels[..., 0], PIXELS[5:15, 3:23])


@pytest.mark.parametrize("data", [png(), npy()], ids=["png", "npy"])
@pytest.mark.parametrize(
    ("view", "reason"),
    [
        (View(scene=2), "no scene 2"),
        (View(level=1), "no level 1"),
        (View(resolution=0.5), "pixel size is not known"),
        (View(region=(70, 0, 11, 10)), "is not within 64×80"),
    ],
)
def test_what_the_file_does_not_have_is_refused(data: bytes, view: View, reason: str) -> None:
    with pytest.raises(InapplicableOption, match=reason):
        read_image(data, "x.png", view=view)


def test_axes_are_for_arrays_and_regions_for_images() -> None:
    with pytest.raises(InapplicableOption, match="leave it out"):
        read_image(png(), view=View(axes="YX"))
    with pytest.raises(InapplicableOption, match="cut the array"):
        read_image(npy(PIXELS[None].repeat(3, 0)), view=View(axes="ZYX", region=(0, 0, 4, 4)))


def test_tissue_is_found_by_clients_only() -> None:
    with pytest.raises(InapplicableOption, match="give its path"):
        view_of(Options(region="tissue"))


def test_a_region_of_a_planes_own_file_is_cut_out() -> None:
    pixels = np.arange(30, dtype=np.uint8).reshape(5, 6, 1)
    found = read_image(encode_plane(Image.of(pixels)), view=View(region=(1, 2, 3, 2)))
    assert isinstance(found, Image)
    np.testing.assert_array_equal(found.pixels, pixels[2:4, 1:4])


@pytest.mark.parametrize("planes", ["max", "mean:2-4", "3"])
def test_planes_of_one_image_are_not_linked(planes: str) -> None:
    with pytest.raises(InapplicableOption, match="link joins the objects of several planes"):
        view_of(Options(planes=planes, link="iou"))


@pytest.mark.parametrize("planes", [None, "all", "3-10"])
def test_planes_of_a_range_are_linked(planes: str | None) -> None:
    assert view_of(Options(planes=planes, link="iou")) == View()


def test_the_chosen_channels_are_those_that_are_checked() -> None:
    assert view_of(Options(channels=2)).channels == 2
    assert view_of(Options(channels=(1, "DAPI"))).channels == (1, "DAPI")
