"""Pyramids: a level, a resolution or a region is read alone, and a pyramid that is too large names its levels."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from maskq.segmentation.errors import ImageTooLarge, InapplicableOption, NotAnImage
from maskq.segmentation.images import Image, ImageLimits, View, read_image
from tests.image_files import Array

from .files import grey, image, pages, planes, stack, written

FULL = grey(256, 192)
TILES, REDUCED = {"tile": (32, 32)}, {"tile": (32, 32), "subfiletype": 1}
MICROMETRES = {"resolution": (20_000, 40_000), "resolutionunit": "centimeter"}
LEVELS = [FULL, FULL[::2, ::2], FULL[::4, ::4]]
AS_PAGES = pages([(FULL, TILES | MICROMETRES), (LEVELS[1], REDUCED), (LEVELS[2], REDUCED)])
BELOW = pages([(FULL, TILES | MICROMETRES | {"subifds": 2}), (LEVELS[1], REDUCED), (LEVELS[2], REDUCED)])
EACH = pytest.mark.parametrize("data", [AS_PAGES, BELOW], ids=["pages", "below"])


@EACH
@pytest.mark.parametrize("level", [0, 1, 2])
def test_a_level_is_read_with_its_pixel_size(data: bytes, level: int) -> None:
    found = image(data, View(level=level))
    np.testing.assert_array_equal(found.pixels[..., 0], LEVELS[level])
    assert found.pixel_size == (0.25 * 2**level, 0.5 * 2**level)


@EACH
def test_a_level_that_is_not_there_is_refused_with_those_that_are(data: bytes) -> None:
    with pytest.raises(
        InapplicableOption, match=r"no level 3: its levels are 0 \(256×192\), 1 \(128×96\), 2 \(64×48\)"
    ):
        image(data, View(level=3))


@EACH
@pytest.mark.parametrize(("resolution", "level"), [(0.25, 0), (0.251, 0), (0.5, 1), (1.0, 2)])
def test_a_resolution_is_the_level_that_has_it(data: bytes, resolution: float, level: int) -> None:
    np.testing.assert_array_equal(image(data, View(resolution=resolution)).pixels[..., 0], LEVELS[level])


@EACH
def test_a_resolution_that_no_level_has_is_refused_since_nothing_is_resized_here(data: bytes) -> None:
    with pytest.raises(InapplicableOption, match=r"no level has 0\.7 µm per pixel, they have 0\.25, 0\.5, 1"):
        image(data, View(resolution=0.7))


def test_a_resolution_needs_a_pixel_size() -> None:
    with pytest.raises(InapplicableOption, match="its pixel size is not known, so use the option level instead"):
        image(pages([(FULL, TILES), (LEVELS[1], REDUCED)]), View(resolution=1))


def test_a_thumbnail_of_another_shape_is_no_level() -> None:
    data = pages([(FULL, TILES), (grey(50, 90), {"subfiletype": 1})])
    with pytest.raises(InapplicableOption, match=r"its levels are 0 \(256×192\)$"):
        image(data, View(level=1))


LAYOUTS: dict[str, dict[str, Any]] = {
    "strip": {},
    "strips": {"rowsperstrip": 7},
    "deflate": {"rowsperstrip": 7, "compression": "deflate", "predictor": True},
    "tiles": TILES,
    "jpeg-2000": TILES | {"compression": "jpeg2000"},
}
FILES = {
    (kind, colour): written(
        np.dstack([FULL] * 3) if colour else FULL, **own | {"photometric": "rgb" if colour else "minisblack"}
    )
    for kind, own in LAYOUTS.items()
    for colour in (False, True)
}


@settings(deadline=None, max_examples=60)
@given(
    st.sampled_from(sorted(FILES)),
    st.tuples(st.integers(0, 191), st.integers(0, 255)),
    st.tuples(st.integers(1, 192), st.integers(1, 256)),
)
def test_a_region_is_that_part_of_the_image(
    kind: tuple[str, bool], corner: tuple[int, int], size: tuple[int, int]
) -> None:
    (x, y), width, height = corner, min(size[0], 192 - corner[0]), min(size[1], 256 - corner[1])
    found = image(FILES[kind], View(region=(x, y, width, height)))
    whole = image(FILES[kind]).pixels
    np.testing.assert_array_equal(found.pixels, whole[y : y + height, x : x + width])


@EACH
def test_a_region_of_a_level_is_in_pixels_of_the_full_image(data: bytes) -> None:
    found = image(data, View(level=1, region=(20, 40, 100, 60)))
    np.testing.assert_array_equal(found.pixels[..., 0], LEVELS[1][20:50, 10:60])


@pytest.mark.parametrize("region", [(0, 0, 193, 5), (0, 0, 5, 257), (-1, 0, 5, 5), (0, 0, 0, 5), (200, 0, 5, 5)])
def test_a_region_that_is_not_within_the_image_is_refused(region: tuple[int, int, int, int]) -> None:
    with pytest.raises(InapplicableOption, match="is not within 256×192"):
        image(AS_PAGES, View(region=region))


def test_a_region_of_a_stack_is_cut_from_each_plane() -> None:
    pixels = grey(3, 20, 30)
    found = stack(written(pixels, metadata={"axes": "ZYX"}), View(region=(5, 6, 7, 8)))
    assert found.size == (8, 7)
    np.testing.assert_array_equal(planes(found)[..., 0], pixels[:, 6:14, 5:12])


def test_a_level_of_a_stack_is_that_of_each_plane() -> None:
    pixels = grey(3, 64, 48)
    stream = io.BytesIO()
    with tifffile.TiffWriter(stream, ome=True) as writer:
        writer.write(pixels, subifds=1, photometric="minisblack", metadata={"axes": "TYX"})
        writer.write(pixels[:, ::2, ::2], subfiletype=1, photometric="minisblack")
    found = stack(stream.getvalue(), View(level=1))
    assert (found.axes, found.size) == ("T", (32, 24))
    np.testing.assert_array_equal(planes(found)[..., 0], pixels[:, ::2, ::2])


@EACH
def test_a_pyramid_that_is_too_large_names_its_levels_and_the_options(data: bytes) -> None:
    limits = ImageLimits(max_pixels=20_000)
    with pytest.raises(ImageTooLarge, match=r"256×192 is .* option level: 0 .*, 1 \(128×96\), .* option region$"):
        read_image(data, "cells", limits)
    assert isinstance(read_image(data, "cells", limits, View(level=1)), Image)
    assert isinstance(read_image(data, "cells", limits, View(region=(0, 0, 100, 100))), Image)


def test_an_image_that_is_too_large_and_no_pyramid_names_no_levels() -> None:
    with pytest.raises(ImageTooLarge, match="over the limit of 20,000 pixels$"):
        read_image(written(FULL), "cells", ImageLimits(max_pixels=20_000))


LABEL, OVERVIEW = grey(40, 40, 3), grey(30, 90, 3)
RGB = {"photometric": "rgb"}


def slide(text: str, **tags: Any) -> bytes:
    """As a scanner writes: levels that tag 254 does not mark, among a thumbnail, a label and an overview."""
    colours = np.dstack([FULL] * 3)
    return pages(
        [
            (colours, TILES | RGB | {"description": text, **tags}),
            (colours[::3, ::3][:80], RGB),
            (colours[::2, ::2], TILES | RGB),
            (LABEL, RGB | {"subfiletype": 1}),
            (OVERVIEW, RGB | {"subfiletype": 9}),
        ]
    )


APERIO = "Aperio Image Library v11\r\n256x192 [0,0 256x192] (32x32) JPEG/RGB|AppMag = 20|MPP = 0.4990"


def test_a_slide_is_its_largest_pyramid() -> None:
    found = image(slide(APERIO))
    assert found.pixels.shape == (256, 192, 3) and found.pixel_size == (0.499, 0.499)
    assert image(slide(APERIO), View(level=1)).pixels.shape == (128, 96, 3)
    with pytest.raises(InapplicableOption, match=r"its levels are 0 \(256×192\), 1 \(128×96\)$"):
        image(slide(APERIO), View(level=2))


def test_a_hamamatsu_slide_is_known_by_its_tags() -> None:
    tags = {"extratags": [(65420, 4, 1, 1, True)]}
    assert image(slide("", **tags)).pixels.shape == (256, 192, 3)


def test_the_channels_of_an_akoya_slide_have_names() -> None:
    def text(name: str) -> str:
        return f"<PerkinElmer-QPI-ImageDescription><Name>{name}</Name></PerkinElmer-QPI-ImageDescription>"

    channels: Array = grey(2, 64, 64)
    data = pages(
        [
            (channels[0], TILES | {"description": text("DAPI")}),
            (channels[1], TILES | {"description": text("CD8")}),
            (grey(20, 20, 3), RGB),
            (channels[0, ::2, ::2], TILES),
            (channels[1, ::2, ::2], TILES),
        ]
    )
    found = image(data)
    np.testing.assert_array_equal(found.pixels, np.moveaxis(channels, 0, -1))
    assert found.channel_names == ("DAPI", "CD8")
    np.testing.assert_array_equal(image(data, View(level=1)).pixels, np.moveaxis(channels[:, ::2, ::2], 0, -1))


def test_a_volume_of_an_isolated_compression_is_refused_by_name() -> None:
    with pytest.raises(NotAnImage, match="a volume of compression 50002"):
        data = written(grey(4, 32, 32), volumetric=True, tile=(1, 32, 32), compression="jpegxl")
        stack(data).read(0)


def test_a_level_and_a_resolution_are_refused_together() -> None:
    with pytest.raises(InapplicableOption, match="level or resolution, not both"):
        read_image(written(grey(20, 30)), view=View(level=0, resolution=0.5))
