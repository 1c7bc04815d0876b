"""Clients and workers can't import each other's rules about pixel sizes: they are the same."""

from __future__ import annotations

import pytest

from maskq.producer.client.containers import slide_metadata, units
from maskq.segmentation.images.tiff import scenes
from maskq.segmentation.images.tiff.metadata.units import _MICROMETRES, pixel_size_of


@pytest.mark.parametrize("unit", sorted(_MICROMETRES))
def test_a_unit_is_as_long_for_clients_as_for_workers(unit: str) -> None:
    size = units.micrometres(2.0, unit)
    assert size is not None and pixel_size_of(2.0, 2.0, unit) == (size, size)


def test_the_same_pixel_sizes_are_those_of_specimens() -> None:
    assert scenes._SPECIMEN == (slide_metadata._SMALLEST_PIXEL, slide_metadata._LARGEST_PIXEL)
