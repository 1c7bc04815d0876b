"""Label images become one number per object: colour codes, masks of foreground, numbers out of range."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from PIL import Image

from maskq.cli.labels import labels
from maskq.segmentation.errors import InvalidDataset
from maskq.segmentation.label_conversion import background_value, convert

Array = NDArray[Any]

LABELS = np.zeros((20, 30), np.uint8)
LABELS[1:6, 1:8], LABELS[10:15, 2:8], LABELS[5:16, 12:19] = 1, 2, 3
COLOURS = np.array([(0, 0, 0), (0, 0, 200), (0, 200, 0), (200, 0, 0)], np.uint8)


def saved(path: Path, values: Array) -> Path:
    if path.suffix == ".npy":
        np.save(path, values)
    else:
        Image.fromarray(values).save(path)
    return path


def test_each_colour_becomes_one_number(tmp_path: Path) -> None:
    converted = convert(saved(tmp_path / "a.png", COLOURS[LABELS]))
    np.testing.assert_array_equal(converted.labels, LABELS)  # ascending by red, green, blue
    assert converted.labels.dtype == np.int32
    assert (converted.objects, converted.values, converted.pieces) == (3, 3, 3)


def test_a_colour_in_two_pieces_is_one_object_unless_pieces_are_wanted(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.png", COLOURS[np.where(LABELS == 2, 1, LABELS)])
    one, two = convert(path), convert(path, by_piece=True)
    assert (one.objects, one.values, one.pieces) == (2, 2, 3)
    assert (two.objects, two.values, two.pieces) == (3, 2, 3)


@pytest.mark.parametrize("value", [1, 255])
def test_pieces_of_foreground_become_objects(tmp_path: Path, value: int) -> None:
    converted = convert(saved(tmp_path / "a.png", np.where(LABELS > 0, value, 0).astype(np.uint8)), by_piece=True)
    assert converted.objects == 3
    np.testing.assert_array_equal(converted.labels > 0, LABELS > 0)
    assert all(len(np.unique(LABELS[converted.labels == n])) == 1 for n in (1, 2, 3))


def test_pieces_that_touch_at_a_corner_are_one(tmp_path: Path) -> None:
    corner = np.kron(np.eye(2, dtype=np.uint8), np.ones((2, 2), np.uint8))
    assert convert(saved(tmp_path / "a.png", corner), by_piece=True).objects == 1


@given(arrays(np.int64, st.tuples(st.integers(1, 8), st.integers(1, 8)), elements=st.integers(-(2**40), 2**40)))
def test_any_numbers_become_1_to_n_and_stay_apart(tmp_path_factory: pytest.TempPathFactory, values: Array) -> None:
    converted = convert(saved(tmp_path_factory.getbasetemp() / "any.npy", values))
    objects = np.unique(values[values != 0])
    assert converted.objects == len(objects)
    np.testing.assert_array_equal(np.concatenate([[0], objects])[converted.labels], values)


def test_several_numbers_can_be_background(tmp_path: Path) -> None:
    values = LABELS.astype(np.int64)
    values[0] = -1
    converted = convert(saved(tmp_path / "a.npy", values), [0, -1])
    np.testing.assert_array_equal(converted.labels, np.where(values > 0, LABELS, 0))


def test_another_colour_than_black_can_be_background(tmp_path: Path) -> None:
    colours = COLOURS.copy()
    colours[0] = 255
    path = saved(tmp_path / "a.png", colours[LABELS])
    with pytest.raises(InvalidDataset, match=r"no pixel has the colour of the background.*--background '#RRGGBB'"):
        convert(path)
    np.testing.assert_array_equal(convert(path, [background_value("#ffffff")]).labels, LABELS)


def test_a_colour_is_background_in_files_of_grey_levels_and_of_16_bits_too(tmp_path: Path) -> None:
    white = np.full((5, 6, 3), 255, np.uint8)
    assert convert(saved(tmp_path / "empty.png", white), [(255, 255, 255)]).objects == 0
    white[1:3, 1:3] = 90
    assert convert(saved(tmp_path / "grey.png", white), [(255, 255, 255)]).objects == 1
    assert convert(saved(tmp_path / "grey.png", white), [255]).objects == 1
    tifffile.imwrite(tmp_path / "deep.tif", white.astype(np.uint16) * 257, photometric="rgb")
    assert convert(tmp_path / "deep.tif", [(255, 255, 255)]).objects == 1


@pytest.mark.parametrize("suffix", [".png", ".bmp"])
def test_a_colour_of_a_palette_can_be_background(tmp_path: Path, suffix: str) -> None:
    image = Image.fromarray((LABELS + 1) % 4, "L")
    image.putpalette(np.roll(COLOURS + np.uint8(9), 1, axis=0).tobytes())
    image.save(tmp_path / f"a{suffix}")
    converted = convert(tmp_path / f"a{suffix}", [background_value("#090909")])
    assert converted.objects == 3
    np.testing.assert_array_equal(converted.labels > 0, LABELS > 0)


def test_a_colour_is_no_background_of_numbers(tmp_path: Path) -> None:
    with pytest.raises(InvalidDataset, match="stores numbers, not colours"):
        convert(saved(tmp_path / "a.npy", LABELS), [(255, 255, 255)])


@pytest.mark.parametrize("text", ["white", "#fff", "#gggggg", "1.5"])
def test_a_background_that_is_neither_number_nor_colour_is_refused(text: str) -> None:
    with pytest.raises(InvalidDataset, match=f"background '{text}'"):
        background_value(text)


def test_a_palette_of_any_order_needs_its_background(tmp_path: Path) -> None:
    image = Image.fromarray((LABELS + 1) % 4, "L")
    image.putpalette(np.roll(COLOURS, 1, axis=0).tobytes())
    image.save(tmp_path / "a.png")
    with pytest.raises(InvalidDataset, match="number 1 of its palette is black"):
        convert(tmp_path / "a.png")
    converted = convert(tmp_path / "a.png", [1])
    np.testing.assert_array_equal(converted.labels > 0, LABELS > 0)
    assert converted.objects == 3


def test_pictures_and_smoothed_colours_are_refused(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
    noise[0] = 0
    with pytest.raises(InvalidDataset, match="a picture, or a colour code that was smoothed"):
        convert(saved(tmp_path / "noise.png", noise))
    smooth = Image.fromarray(COLOURS[LABELS]).resize((67, 45), Image.Resampling.BICUBIC)
    smooth.save(tmp_path / "smooth.png")
    with pytest.raises(InvalidDataset, match="colours have at most 4 pixels"):
        convert(tmp_path / "smooth.png")


def test_a_picture_in_grey_is_refused(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 100, (99, 99), np.uint8)
    with pytest.raises(InvalidDataset, match="99 numbers in .* separate pieces: a picture in grey"):
        convert(saved(tmp_path / "a.png", noise), by_piece=True)


def test_of_images_and_labels_in_one_folder_the_labels_are_converted(tmp_path: Path) -> None:
    saved(tmp_path / "a.png", LABELS * 9)
    saved(tmp_path / "a_mask.png", (LABELS > 0) * np.uint8(255))
    assert labels(tmp_path, tmp_path / "out", pieces=True) == 0
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a_mask.png"]


def test_partly_transparent_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidDataset, match="partly transparent"):
        convert(saved(tmp_path / "a.png", np.dstack([COLOURS[LABELS], LABELS])))
