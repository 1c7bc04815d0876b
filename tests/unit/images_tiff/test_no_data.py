"""Pixels without data, by GDAL's tag 42113."""

from __future__ import annotations

import io

import numpy as np
import pytest
import tifffile

from maskq.segmentation.errors import NonFiniteImage
from maskq.segmentation.images import Image, View, read_image


def tiff(pixels: np.ndarray, no_data: str) -> bytes:
    stream = io.BytesIO()
    tifffile.imwrite(stream, pixels, extratags=[(42113, 2, 0, no_data, True)])
    return stream.getvalue()


def floats() -> np.ndarray:
    pixels = np.linspace(0, 1, 30, dtype=np.float32).reshape(5, 6)
    pixels[0, :3] = -9999
    return pixels


def read(data: bytes, view: View = View()) -> Image:
    image = read_image(data, view=view)
    assert isinstance(image, Image)
    return image


def test_floats_without_data_are_nan() -> None:
    data = tiff(floats(), "-9999")
    with pytest.raises(NonFiniteImage, match="3 values are NaN or infinite, or no data by the TIFF's tag; "):
        read(data)
    image = read(data, View(nan_as_background=True))
    assert np.isnan(image.pixels[0, :3]).all() and np.isfinite(image.pixels[1:]).all()
    assert image.notes[0] == "3 pixels have the value -9999, which is no data by the TIFF's tag: NaN."


def test_integers_without_data_keep_their_value_and_a_note_says_so() -> None:
    pixels = np.arange(30, dtype=np.uint16).reshape(5, 6)
    pixels[0, 0] = 65_535
    image = read(tiff(pixels, "65535"))
    np.testing.assert_array_equal(image.pixels[..., 0], pixels)
    assert "1 pixels have the value 65535" in image.notes[0] and "taken as values" in image.notes[0]


@pytest.mark.parametrize("no_data", ["0", "-9999", "-256", "1.5", "nan", "none", ""])
def test_images_in_which_every_pixel_has_data_are_as_they_are(no_data: str) -> None:
    pixels = np.arange(226, 256, dtype=np.uint8).reshape(5, 6)
    image = read(tiff(pixels, no_data))
    np.testing.assert_array_equal(image.pixels[..., 0], pixels)
    assert image.notes == ()


def test_the_value_of_no_data_is_one_of_the_files_and_not_one_that_was_turned_round() -> None:
    pixels = np.full((5, 6), 7, np.uint8)
    pixels[0, :2], pixels[1, :3] = 255, 0
    stream = io.BytesIO()
    tifffile.imwrite(stream, pixels, photometric="miniswhite", extratags=[(42113, 2, 0, "255", True)])
    assert read(stream.getvalue()).notes[1].startswith("2 pixels have the value 255")
