"""A pixel's size in micrometres comes from metadata of the specimen, never from a printer's resolution."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.image_files import saved

from .files import grey, image, stack, written


@pytest.mark.parametrize(
    ("resolution", "unit", "size"),
    [
        ((20_000, 40_000), "centimeter", (0.25, 0.5)),
        ((50_800, 25_400), "inch", (1.0, 0.5)),
        ((72, 72), "inch", None),
        ((300, 300), "inch", None),
        ((2400, 2400), "inch", None),
        ((118.11, 118.11), "centimeter", None),
        ((1, 1), "centimeter", None),
        ((2_000_000, 2_000_000), "centimeter", None),
        ((20_000, 40_000), "none", None),
    ],
)
def test_resolution_tags_count_if_a_microscope_can_mean_them(
    resolution: tuple[float, float], unit: str, size: tuple[float, float] | None
) -> None:
    found = image(written(grey(5, 6), resolution=resolution, resolutionunit=unit)).pixel_size
    assert found == (None if size is None else pytest.approx(size))


def test_dots_per_inch_of_pillow_mean_nothing() -> None:
    assert image(saved(grey(5, 6), "TIFF", dpi=(96, 96))).pixel_size is None


@pytest.mark.parametrize(
    ("unit", "size"),
    [
        ("um", (0.5, 0.25)),
        ("µm", (0.5, 0.25)),
        ("\\u00B5m", (0.5, 0.25)),
        ("micron", (0.5, 0.25)),
        ("nm", (0.0005, 0.00025)),
        ("mm", (500.0, 250.0)),
        ("inch", (12_700.0, 6_350.0)),
        ("pixel", None),
        ("", None),
        ("parsec", None),
    ],
)
def test_imagej_has_the_unit_in_its_description(unit: str, size: tuple[float, float] | None) -> None:
    options = {"axes": "ZYX", "unit": "xxxxxxxx"}
    data = written(grey(2, 5, 6), imagej=True, resolution=(4, 2), metadata=options)
    data = data.replace(b"xxxxxxxx", unit.encode("latin1").ljust(8))
    assert stack(data).read(0).pixel_size == (None if size is None else pytest.approx(size))


@pytest.mark.parametrize(
    ("physical", "size"),
    [
        ({"PhysicalSizeX": 0.25, "PhysicalSizeY": 0.5}, (0.5, 0.25)),
        ({"PhysicalSizeX": 250, "PhysicalSizeXUnit": "nm", "PhysicalSizeY": 0.5}, (0.5, 0.25)),
        ({"PhysicalSizeX": 0.001, "PhysicalSizeXUnit": "mm", "PhysicalSizeY": 1}, (1.0, 1.0)),
        ({"PhysicalSizeX": 1, "PhysicalSizeXUnit": "pixel", "PhysicalSizeY": 1, "PhysicalSizeYUnit": "pixel"}, None),
        ({"PhysicalSizeX": 0.25}, None),
        ({}, None),
    ],
)
def test_ome_has_sizes_with_units(physical: dict[str, Any], size: tuple[float, float] | None) -> None:
    found = image(written(grey(5, 6), ome=True, metadata={"axes": "YX", **physical}))
    assert found.pixel_size == (None if size is None else pytest.approx(size))


def test_the_pixels_are_those_of_the_file() -> None:
    pixels = grey(5, 6)
    found = image(written(pixels, resolution=(20_000, 20_000), resolutionunit="centimeter"))
    np.testing.assert_array_equal(found.pixels[..., 0], pixels)
    assert found.pixels.flags.writeable


def test_a_pixel_size_that_is_no_number_does_not_hide_the_axes() -> None:
    data = written(
        grey(2, 3, 20, 30), ome=True, metadata={"axes": "ZCYX", "PhysicalSizeX": 0.65, "PhysicalSizeY": 0.65}
    )
    found = stack(data.replace(b'PhysicalSizeX="0.65"', b'PhysicalSizeX="0,65"'))
    assert (found.axes, found.shape, found.read(0).pixel_size) == ("Z", (2,), None)
