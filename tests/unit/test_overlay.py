"""Pictures of objects: grey levels, tints and outlines."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from maskq.segmentation import overlay
from maskq.segmentation.arrays import Labels

DTYPES = ["?", "u1", "u2", "u4", "i2", "i4", "f2", "f4", "f8"]
BACKGROUND = np.zeros((40, 50), np.int32)


def ramp(dtype: str, channels: int = 1) -> NDArray[Any]:
    """(40, 50, channels), dark to bright."""
    plane = np.linspace(0, 120, 2000).reshape(40, 50, 1)
    return np.repeat(plane > 60 if dtype == "?" else plane, channels, axis=2).astype(dtype)


def square(label: int) -> Labels:
    labels = BACKGROUND.copy()
    labels[10:20, 10:20] = label
    return labels


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("channels", [1, 2, 3, 4, 6])
def test_any_type_and_number_of_channels_uses_the_full_range(dtype: str, channels: int) -> None:
    picture = overlay.draw(ramp(dtype, channels), BACKGROUND)
    assert picture.shape == (40, 50, 3) and picture.dtype == np.uint8
    assert picture[0, 0].tolist() == [0, 0, 0] and picture[-1, -1].tolist() == [255, 255, 255]


def test_scale_and_offset_of_the_pixels_do_not_matter() -> None:
    plain, far = ramp("f8"), (ramp("f8") * 3).astype("i4") + 2_000_000_000
    difference = overlay.draw(plain, BACKGROUND).astype(int) - overlay.draw(far, BACKGROUND)
    assert abs(difference).max() <= 1


def test_colours_of_an_image_keep_their_hue() -> None:
    pixels = ramp("u1", 3) // np.array([1, 2, 1], np.uint8)
    picture = overlay.draw(pixels, BACKGROUND)
    assert picture[30, 40, 1] == pytest.approx(picture[30, 40, 0] / 2, abs=2)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_flat_image_is_black(dtype: str) -> None:
    assert not overlay.draw(np.ones((40, 50, 1), dtype), BACKGROUND).any()


def test_a_few_bright_pixels_on_a_flat_image_are_visible() -> None:
    pixels = np.zeros((400, 500, 1), np.uint16)
    pixels[5, 7] = 1
    picture = overlay.draw(pixels, np.zeros((400, 500), np.int32))
    assert picture[5, 7].tolist() == [255, 255, 255] and picture.sum() == 3 * 255


@pytest.mark.parametrize("channels", [1, 3])
def test_nan_is_black_and_changes_no_other_pixel(channels: int) -> None:
    pixels = ramp("f4", channels) + 1000
    bordered = np.pad(pixels, ((5, 5), (5, 5), (0, 0)), constant_values=np.nan)
    picture = overlay.draw(bordered, np.zeros(bordered.shape[:2], np.int32))
    difference = picture[5:-5, 5:-5].astype(int) - overlay.draw(pixels, BACKGROUND)
    assert abs(difference).max() <= 1 and not picture[:5].any() and not picture[:, -5:].any()
    assert not overlay.draw(np.full((9, 9, channels), np.nan), np.zeros((9, 9), np.int32)).any()


def test_pixels_outside_objects_are_unchanged() -> None:
    pixels, labels = ramp("u2"), square(7)
    changed = (overlay.draw(pixels, labels) != overlay.draw(pixels, BACKGROUND)).any(axis=2)
    assert (changed == (labels > 0)).all()


def test_the_outline_is_the_full_colour_and_the_inside_a_tint() -> None:
    picture = overlay.draw(np.zeros((40, 50, 1), np.uint8), square(7))
    colour = picture[10, 10]
    outline = np.zeros((40, 50), bool)
    outline[10:20, 10:20] = True
    outline[11:19, 11:19] = False
    assert (picture[outline] == colour).all()
    assert (picture[11:19, 11:19] == colour // 4).all()


def test_touching_objects_are_outlined_on_both_sides() -> None:
    labels = BACKGROUND.copy()
    labels[:, 20:25], labels[:, 25:30] = 1, 2
    picture = overlay.draw(np.zeros((40, 50, 1), np.uint8), labels)
    one, other = picture[5, 20], picture[5, 29]
    assert (one != other).any()
    assert (picture[5, 24] == one).all() and (picture[5, 25] == other).all()


def test_the_border_of_the_image_is_not_outlined() -> None:
    picture = overlay.draw(np.zeros((40, 50, 1), np.uint8), np.ones((40, 50), np.int32))
    assert (picture == picture[0, 0]).all()


def test_an_id_always_has_the_same_colour_and_consecutive_ids_differ_clearly() -> None:
    black = np.zeros((40, 50, 1), np.uint8)
    colours = np.array([overlay.draw(black, square(i))[10, 10] for i in (*range(1, 30), 100_000, 2**31 - 1)], int)
    again = overlay.draw(black, np.roll(square(5), 7, axis=1))[10, 17]
    assert (again == colours[4]).all()
    assert abs(np.diff(colours, axis=0)).max(axis=1).min() > 80


@given(
    hnp.arrays(np.int32, st.tuples(st.integers(1, 30), st.integers(1, 30)), elements=st.integers(0, 3)),
    st.integers(1, 200),
)
def test_the_size_of_the_bands_does_not_matter(labels: Labels, band: int) -> None:
    pixels = np.arange(labels.size, dtype=np.uint16).reshape(*labels.shape, 1)
    whole = overlay.draw(pixels, labels)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(overlay, "_BAND", band)
        assert (overlay.draw(pixels, labels) == whole).all()


@pytest.mark.parametrize("shape", [(0, 5), (5, 0)])
def test_an_image_without_pixels_gives_an_empty_picture(shape: tuple[int, int]) -> None:
    assert overlay.draw(np.zeros((*shape, 1), np.uint8), np.zeros(shape, np.int32)).shape == (*shape, 3)


def test_pixels_and_labels_of_different_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="differ in height or width"):
        overlay.draw(np.zeros((4, 5, 1), np.uint8), np.zeros((5, 4), np.int32))


def test_pictures_are_joined_with_white_gaps() -> None:
    left, right = np.zeros((6, 3, 3), np.uint8), np.full((6, 5, 3), 9, np.uint8)
    joined = overlay.side_by_side(left, right)
    gap = joined.shape[1] - 8
    assert 1 <= gap <= 8
    assert (joined[:, :3] == 0).all() and (joined[:, 3 : 3 + gap] == 255).all() and (joined[:, 3 + gap :] == 9).all()
    assert (overlay.side_by_side(left) == left).all()


def test_pictures_of_different_heights_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\[4, 6\]"):
        overlay.side_by_side(np.zeros((6, 3, 3), np.uint8), np.zeros((4, 3, 3), np.uint8))
    with pytest.raises(ValueError, match="one height"):
        overlay.side_by_side()


def test_an_outline_changes_only_boundary_pixels() -> None:
    picture = np.full((40, 50, 3), 9, np.uint8)
    overlay.outline(picture, square(7), (1, 2, 3))
    drawn = (picture == (1, 2, 3)).all(axis=2)
    assert drawn.sum() == 36 and drawn[10, 10:20].all() and (picture[~drawn] == 9).all()
    with pytest.raises(ValueError, match="differ in height or width"):
        overlay.outline(picture, square(7).T, (1, 2, 3))


def test_small_images_are_enlarged_by_whole_pixels() -> None:
    pixels, labels = overlay.resized(ramp("u2", 6), square(7), 130, 400)
    assert pixels.shape == (80, 100, 1) and labels.shape == (80, 100)
    assert (labels[20:40, 20:40] == 7).all() and np.count_nonzero(labels) == 400
    assert (pixels[1::2, ::2] == pixels[::2, 1::2]).all()


def test_large_images_are_reduced_to_block_means() -> None:
    pixels = np.zeros((101, 60, 1), np.uint16)
    pixels[::2] = 60_000
    small, labels = overlay.resized(pixels, np.full((101, 60), 5, np.int32), 10, 60)
    assert small.shape[:2] == labels.shape == (51, 30) and (labels == 5).all()
    assert np.allclose(small[:-1], 30_000) and np.allclose(small[-1], 60_000)  # the last block has one row


def test_images_within_the_bounds_are_unchanged() -> None:
    pixels, labels = overlay.resized(ramp("f4", 3), square(7), 40, 50)
    assert (pixels == ramp("f4", 3)).all() and (labels == square(7)).all()


def test_drawing_imports_only_numpy() -> None:
    heavy = "{'torch', 'numba', 'scipy', 'skimage', 'PIL', 'imagecodecs', 'tifffile', 'matplotlib'}"
    code = f"import sys, maskq.segmentation.overlay; sys.exit(' '.join({heavy} & sys.modules.keys()) or 0)"
    run = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
