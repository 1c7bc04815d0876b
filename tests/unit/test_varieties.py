"""Real files of many writers are read right, or refused by name; docs/images.md says what becomes of each."""

import re

import numpy as np
import pytest

from docs import image_formats
from maskq.segmentation import errors
from maskq.segmentation.images import Image, Stack, read_image
from tests.varieties.expected import FILES, Expected, read_expected
from tests.varieties.pictures import HEIGHT, WIDTH, Array, picture, plane

ROWS = read_expected()


def test_at_least_150_files_of_40_varieties_are_read() -> None:
    assert len(ROWS) >= 150
    assert len({(row.format, row.variety) for row in ROWS}) >= 40
    assert {row.file for row in ROWS} == {path.name for path in FILES.iterdir()}


def test_the_page_of_images_is_up_to_date() -> None:
    assert image_formats.PAGE.read_text() == image_formats.page(), "run `make docs`"


@pytest.mark.parametrize("row", [row for row in ROWS if row.refused], ids=lambda row: row.file)
def test_a_file_that_is_not_read_is_refused_by_name(row: Expected) -> None:
    with pytest.raises(errors.ImageError) as caught:
        _read(row)
    assert type(caught.value).__name__ == row.refused
    assert row.file in str(caught.value)
    assert row.says in str(caught.value)


@pytest.mark.parametrize("row", [row for row in ROWS if not row.refused and not row.axes], ids=lambda row: row.file)
def test_an_image_is_what_its_writer_was_given(row: Expected) -> None:
    image = _read(row)
    assert isinstance(image, Image)
    _compare(image, row, 0)


@pytest.mark.parametrize("row", [row for row in ROWS if row.axes], ids=lambda row: row.file)
def test_a_stack_is_what_its_writer_was_given(row: Expected) -> None:
    stack = _read(row)
    assert isinstance(stack, Stack)
    axes = [axis.split("=") for axis in row.axes.split()]
    assert stack.shape == tuple(int(length) for _, length in axes)
    assert stack.size == (HEIGHT, WIDTH)
    assert all(wanted in ("?", found) for (wanted, _), found in zip(axes, stack.axes, strict=True))
    for index in range(stack.count):
        _compare(stack.read(index), row, _number(stack, index))


def _read(row: Expected) -> Image | Stack:
    return read_image((FILES / row.file).read_bytes(), row.file)


def _number(stack: Stack, index: int) -> int:
    """The number that the writer gave to a plane: it counted Z within T, whatever the order in the file."""
    place = dict(zip(stack.axes, np.unravel_index(index, stack.shape), strict=True))
    lengths = dict(zip(stack.axes, stack.shape, strict=True))
    number = 0
    for axis in sorted(stack.axes):
        number = number * lengths[axis] + int(place[axis])
    return number


def _compare(image: Image, row: Expected, index: int) -> None:
    """The image is the plane `index` of what the writer was given, with what the file says of it."""
    assert image.kind.value == row.kind
    if row.names:
        assert image.channel_names == tuple(row.names.split(";"))
    if row.pixel_size:
        assert image.pixel_size == pytest.approx(tuple(float(side) for side in row.pixel_size.split()))
    if row.says:
        assert any(row.says in note for note in image.notes), image.notes
    if row.picture:
        _compare_pixels(image.pixels, plane(picture(row.picture), index), row.compare)


def _compare_pixels(pixels: Array, expected: Array, compare: str) -> None:
    assert pixels.shape == expected.shape
    if compare == "exact":
        assert pixels.dtype == expected.dtype
        np.testing.assert_array_equal(pixels, expected)
    elif compare == "scaled":
        np.testing.assert_allclose(pixels / pixels.max(), expected / expected.max(), atol=1 / 250)
    else:
        difference = np.abs(pixels.astype(np.float64) - expected).mean()
        assert difference <= float(re.fullmatch(r"lossy (\d+)", compare)[1])  # type: ignore[index]
