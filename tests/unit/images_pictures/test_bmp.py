"""Every kind of bitmap that is valid is read right, or refused by the name of its kind."""

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image as PillowImage

from maskq.segmentation.errors import EmptyImage, ImageTooLarge, NotAnImage, TruncatedImage
from maskq.segmentation.images import ChannelKind, Image, ImageLimits, bit_fields, read_image
from tests.image_files import Array, saved
from tests.unit.images_pictures.files import bmp, packed_rows, padded_rows, palette_bytes

RANDOM = np.random.default_rng(7)
HEIGHT, WIDTH = 11, 13
COLOURS = RANDOM.integers(0, 256, (256, 3), np.uint8)
BLACK_WHITE = np.array([[0, 0, 0], [255, 255, 255]], np.uint8)


def read(data: bytes) -> Image:
    image = read_image(data, "cells.bmp")
    assert isinstance(image, Image)
    return image


def numbers(kind: str) -> Array:
    return RANDOM.integers(0, np.iinfo(kind).max, (HEIGHT, WIDTH), kind, endpoint=True)


def rows_of(pixels: Array) -> bytes:
    return padded_rows(np.ascontiguousarray(pixels).view(np.uint8).reshape(HEIGHT, -1))


@pytest.mark.parametrize("size", [12, 16, 40, 52, 56, 64, 108, 124])
@pytest.mark.parametrize("depth", [1, 2, 4, 8])
def test_palettes_of_every_depth_and_header_become_their_colours(depth: int, size: int) -> None:
    indices = RANDOM.integers(0, 2**depth, (HEIGHT, WIDTH), np.uint8)
    palette = palette_bytes(COLOURS[: 2**depth], 3 if size == 12 else 4)
    image = read(bmp(WIDTH, HEIGHT, depth, packed_rows(indices, depth), size=size, palette=palette))
    assert image.kind is ChannelKind.RGB
    np.testing.assert_array_equal(image.pixels, COLOURS[indices])


@pytest.mark.parametrize("size", [12, 16, 40, 64, 108, 124])
def test_24_bits_are_red_green_and_blue_under_every_header(size: int) -> None:
    colours = RANDOM.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    image = read(bmp(WIDTH, HEIGHT, 24, padded_rows(colours[..., ::-1].reshape(HEIGHT, -1)), size=size))
    np.testing.assert_array_equal(image.pixels, colours)


def test_the_unused_byte_of_32_bits_is_not_alpha() -> None:
    pixels = RANDOM.integers(0, 256, (HEIGHT, WIDTH, 4), np.uint8)
    image = read(bmp(WIDTH, HEIGHT, 32, rows_of(pixels)))
    assert image.kind is ChannelKind.RGB
    np.testing.assert_array_equal(image.pixels, pixels[..., 2::-1])


def test_16_bits_without_masks_are_five_bits_a_colour() -> None:
    values = numbers("u2")
    image = read(bmp(WIDTH, HEIGHT, 16, rows_of(values)))
    expected = np.dstack([values >> 10 & 31, values >> 5 & 31, values & 31]) * (255 / 31)
    np.testing.assert_array_equal(image.pixels, np.rint(expected))


MASKS = {
    "565": (16, (0xF800, 0x07E0, 0x001F)),
    "555": (16, (0x7C00, 0x03E0, 0x001F)),
    "444": (16, (0x0F00, 0x00F0, 0x000F)),
    "4444": (16, (0x0F00, 0x00F0, 0x000F, 0xF000)),
    "1555": (16, (0x7C00, 0x03E0, 0x001F, 0x8000)),
    "231": (16, (0x0060, 0x001C, 0x0002)),
    "332": (16, (0xE0, 0x1C, 0x03)),
    "888": (32, (0xFF0000, 0xFF00, 0xFF)),
    "888-rgb": (32, (0xFF, 0xFF00, 0xFF0000)),
    "888-high": (32, (0xFF000000, 0xFF0000, 0xFF00)),
    "8888": (32, (0xFF0000, 0xFF00, 0xFF, 0xFF000000)),
    "8888-abgr": (32, (0xFF000000, 0xFF0000, 0xFF00, 0xFF)),
    "10-10-10": (32, (0x3FF00000, 0x000FFC00, 0x000003FF)),
    "11-11-10": (32, (0xFFE00000, 0x001FFC00, 0x000003FF)),
    "7-8-8": (32, (0xFE0000, 0xFF00, 0xFF)),
    "24-bit": (24, (0xFF0000, 0xFF00, 0xFF)),
    "24-bit-rgb": (24, (0xFF, 0xFF00, 0xFF0000)),
}


@pytest.mark.parametrize("size", [40, 56, 108, 124])
@pytest.mark.parametrize(("depth", "masks"), MASKS.values(), ids=MASKS.keys())
def test_bit_fields_of_any_masks_are_spread_over_the_whole_range(depth: int, masks: tuple[int, ...], size: int) -> None:
    values = numbers("u4") & np.uint32(2**depth - 1)
    raw = values[..., None].view(np.uint8)[..., : depth // 8]
    compression = 6 if size == 40 and len(masks) == 4 else 3
    image = read(bmp(WIDTH, HEIGHT, depth, rows_of(raw), compression=compression, size=size, masks=masks))
    maximum = 255 if all(mask.bit_count() <= 8 for mask in masks) else 65535
    assert image.kind is (ChannelKind.RGBA if len(masks) == 4 else ChannelKind.RGB)
    for index, mask in enumerate(masks):
        lowest = max(mask & -mask, 1)
        expected = (values & mask) // lowest * (maximum / max(mask // lowest, 1))
        np.testing.assert_array_equal(image.pixels[..., index], np.rint(expected))


def test_a_mask_without_bits_gives_zeros() -> None:
    """imagecodecs 2026.3.6 divides by zero on a bitmap without one of its masks, which ends the process."""
    assert bit_fields.channel(np.array([[1, 0xFFFF]], np.uint32), 0, np.uint8).tolist() == [[0, 0]]


def test_a_height_below_zero_is_stored_from_the_top() -> None:
    grey = numbers("u1")
    flipped = bmp(WIDTH, -HEIGHT, 8, packed_rows(grey[::-1], 8), palette=palette_bytes(COLOURS))
    np.testing.assert_array_equal(read(flipped).pixels, COLOURS[grey])


def test_a_grey_palette_is_one_channel() -> None:
    grey = numbers("u1")
    ramp = np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, axis=1)
    image = read(bmp(WIDTH, HEIGHT, 8, packed_rows(grey, 8), palette=palette_bytes(ramp)))
    assert image.kind is ChannelKind.GREY
    np.testing.assert_array_equal(image.pixels[..., 0], grey)


def test_black_and_white_is_one_channel_of_bool_and_white_and_black_is_turned_round() -> None:
    bits = RANDOM.integers(0, 2, (HEIGHT, WIDTH), np.uint8)
    image = read(bmp(WIDTH, HEIGHT, 1, packed_rows(bits, 1), palette=palette_bytes(BLACK_WHITE)))
    np.testing.assert_array_equal(image.pixels[..., 0], bits.astype(bool))
    turned = read(bmp(WIDTH, HEIGHT, 1, packed_rows(bits, 1), palette=palette_bytes(BLACK_WHITE[::-1])))
    np.testing.assert_array_equal(turned.pixels[..., 0], 255 - 255 * bits)


def test_indices_beyond_a_short_palette_are_black() -> None:
    indices = np.arange(HEIGHT * WIDTH, dtype=np.uint8).reshape(HEIGHT, WIDTH)
    palette = palette_bytes(COLOURS[:100])
    image = read(bmp(WIDTH, HEIGHT, 8, packed_rows(indices, 8), palette=palette, colours=100))
    np.testing.assert_array_equal(image.pixels, np.where(indices[..., None] < 100, COLOURS[indices], 0))


@pytest.mark.parametrize("gap", [4, 100])
def test_the_pixels_may_stand_apart_from_the_header(gap: int) -> None:
    grey = numbers("u1")
    image = read(bmp(WIDTH, HEIGHT, 8, packed_rows(grey, 8), palette=palette_bytes(COLOURS), gap=gap))
    np.testing.assert_array_equal(image.pixels, COLOURS[grey])


def test_the_padding_of_the_last_row_may_be_missing_but_no_pixel() -> None:
    grey = numbers("u1")
    data = bmp(WIDTH, HEIGHT, 8, packed_rows(grey, 8), palette=palette_bytes(COLOURS))
    np.testing.assert_array_equal(read(data[:-3]).pixels, COLOURS[grey])
    with pytest.raises(TruncatedImage, match=r"cut short: 172 of 173 bytes of pixels"):
        read(data[:-4])


RUNS_8 = b"\x03\x07\x02\x09\0\0" + b"\0\x03\x01\x02\x03\0" + b"\0\2\1\0" + b"\x01\x05\0\1"
RUNS_4 = b"\x03\x71\x02\x9a\0\0" + b"\0\x03\x12\x30" + b"\0\2\1\0" + b"\x01\x50\0\1"
ROWS_8 = [[1, 2, 3, 0, 5], [7, 7, 7, 9, 9]]
ROWS_4 = [[1, 2, 3, 0, 5], [7, 1, 7, 9, 10]]


@pytest.mark.parametrize(
    ("depth", "compression", "runs", "rows"), [(8, 1, RUNS_8, ROWS_8), (4, 2, RUNS_4, ROWS_4)], ids=["RLE8", "RLE4"]
)
@pytest.mark.parametrize("size", [24, 40, 64, 124])
def test_run_lengths_are_expanded(depth: int, compression: int, runs: bytes, rows: list[list[int]], size: int) -> None:
    palette = palette_bytes(COLOURS[: 2**depth])
    image = read(bmp(5, 2, depth, runs, compression=compression, palette=palette, size=size))
    np.testing.assert_array_equal(image.pixels, COLOURS[np.array(rows)])


def test_pixels_that_run_lengths_skip_are_of_the_first_colour() -> None:
    early = bmp(5, 2, 8, b"\x03\x07\0\1", compression=1, palette=palette_bytes(COLOURS))
    np.testing.assert_array_equal(read(early).pixels, COLOURS[np.array([[0] * 5, [7, 7, 7, 0, 0]])])


@pytest.mark.parametrize("runs", [RUNS_8[:-3], RUNS_8[:9], b"", b"\0\0" * 3 + b"\1\1", b"\1"])
def test_run_lengths_that_end_early_or_leave_the_image_are_refused(runs: bytes) -> None:
    with pytest.raises(TruncatedImage):
        read(bmp(5, 2, 8, runs, compression=1, palette=palette_bytes(COLOURS)))


@given(hnp.arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.integers(0, 15)), st.data())
def test_any_runs_expand_to_the_same_pixels(indices: Array, data: st.DataObject) -> None:
    depth = data.draw(st.sampled_from([4, 8]))
    runs = b""
    for row in indices[::-1]:
        for value in row.tolist():
            runs += bytes([1, value * 16 if depth == 4 else value])
        runs += b"\0\0"
    height, width = indices.shape
    palette = palette_bytes(COLOURS[: 2**depth])
    file = bmp(width, height, depth, runs + b"\0\1", compression=1 if depth == 8 else 2, palette=palette)
    np.testing.assert_array_equal(read(file).pixels, COLOURS[indices])


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (bmp(1, 1, 64, bytes(8)), "64 bits a pixel"),
        (bmp(1, 1, 24, bytes(8), compression=4), "a JPEG inside"),
        (bmp(1, 1, 24, bytes(8), compression=5), "a PNG inside"),
        (bmp(1, 1, 1, bytes(8), compression=3, size=64), "Huffman codes"),
        (bmp(1, 1, 24, bytes(8), compression=4, size=64), "24-bit run lengths"),
        (bmp(1, 1, 8, bytes(8), compression=9), "compression 9"),
        (bmp(1, 1, 4, bytes(8), compression=1), "run lengths of 4 bits"),
        (bmp(1, 1, 8, bytes(8), compression=3), "bit fields of 8 bits"),
        (bmp(1, 1, 8, bytes(8), size=240), "a header of 240 bytes"),
    ],
)
def test_rare_kinds_are_refused_by_name(data: bytes, kind: str) -> None:
    with pytest.raises(NotAnImage, match=rf"^cells\.bmp: a BMP .*{kind}, which maskq does not read; save it as PNG$"):
        read(data)


def test_a_header_whose_size_is_not_the_files_is_refused() -> None:
    """imagecodecs 2026.3.6 can crash on a file that is much shorter than its header says. Here a byte is missing."""
    whole = bmp(40, 30, 1, bytes(8 * 30))
    with pytest.raises(ImageTooLarge, match="1,200 pixels, over the limit of 1,000 pixels"):
        read_image(whole, "cells.bmp", ImageLimits(max_pixels=1000))
    with pytest.raises(TruncatedImage):
        read(bmp(64, 30, 1, bytes(8 * 30 - 1)))
    with pytest.raises(EmptyImage):
        read(bmp(0, 5, 1, bytes(8)))


def test_very_many_run_lengths_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("maskq.segmentation.images.bmp._MAX_RUNS", 8)
    with pytest.raises(NotAnImage, match="run lengths"):
        read(bmp(5, 2, 8, RUNS_8, compression=1, palette=palette_bytes(COLOURS)))


def test_masks_with_gaps_are_refused() -> None:
    with pytest.raises(TruncatedImage, match="gaps"):
        read(bmp(1, 1, 32, bytes(4), compression=3, masks=(0xF0F, 0xF000, 0xF0000)))


@given(hnp.arrays(np.uint8, st.tuples(st.integers(1, 20), st.integers(1, 20), st.sampled_from([1, 3, 4]))))
def test_whatever_pillow_writes_is_read(pixels: Array) -> None:
    image = read(saved(pixels[..., 0] if pixels.shape[2] == 1 else pixels, "BMP"))
    np.testing.assert_array_equal(image.pixels, pixels[..., :3])  # Pillow does not say that the fourth byte is alpha


def test_a_file_whose_reserved_bytes_are_used_is_still_a_bitmap() -> None:
    data = bytearray(saved(PillowImage.fromarray(numbers("u1")), "BMP"))
    struct.pack_into("<HH", data, 6, 1, 2)
    assert read(bytes(data)).pixels.shape == (HEIGHT, WIDTH, 1)
    with pytest.raises(NotAnImage):
        read_image(b"BMW sells cars, not bitmaps", limits=ImageLimits())
