"""Samples become what they mean: light is high, palettes and CMYK are RGB, and only metadata make channels colours."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as PillowImage

from maskq.segmentation.errors import NotAnImage, TruncatedImage
from maskq.segmentation.images import ChannelKind
from tests.image_files import Array, raw_tiff, saved

from .files import grey, image, written

WHITE_IS_ZERO, PALETTE = {262: (3, [0])}, (3, [3])
NOTE = "The TIFF is WhiteIsZero: its values were turned round, so that light is high."


def by_pillow(data: bytes) -> Array:
    with PillowImage.open(io.BytesIO(data)) as picture:
        return np.asarray(picture)


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_white_is_zero_is_what_pillow_shows(bits: int) -> None:
    # libvips 8.18 and OpenCV 5.0 turn it round too; tifffile, GDAL and SimpleITK give the values as stored.
    data = raw_tiff({**WHITE_IS_ZERO, 258: (3, [bits])}, grey(8 * bits).tobytes())
    shown = by_pillow(data)
    if bits in (2, 4):
        shown = shown // (255 // (2**bits - 1))  # Pillow spreads them over 0 to 255
    found = image(data)
    np.testing.assert_array_equal(found.pixels[..., 0], shown)
    assert found.notes == (NOTE,) and found.kind is ChannelKind.GREY


@settings(deadline=None)
@given(st.sampled_from(["u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8"]), st.sampled_from([None, "lzw", "zstd"]))
def test_white_is_zero_turns_the_whole_range_round(dtype: str, compression: str | None) -> None:
    limits = np.iinfo(dtype)
    stored = np.array([[limits.min, limits.min + 1, limits.max // 2], [5, limits.max - 1, limits.max]], dtype)
    found = image(written(stored, photometric="miniswhite", compression=compression)).pixels[..., 0]
    assert found.dtype == stored.dtype
    assert found.tolist() == [[limits.max + limits.min - value for value in row] for row in stored.tolist()]


def test_12_bits_are_turned_round_within_12_bits() -> None:
    data = raw_tiff({**WHITE_IS_ZERO, 258: (3, [12])}, bytes([0xFF, 0xF0, 0x01] * 32))
    assert image(data).pixels[0, :2, 0].tolist() == [0, 4094]


def test_white_is_zero_of_floats_is_refused() -> None:
    with pytest.raises(NotAnImage, match="a WhiteIsZero TIFF of float32, .* save it as BlackIsZero"):
        image(written(np.ones((3, 3), "f4"), photometric="miniswhite"))


def test_a_mask_by_tifffile_is_white_is_zero_and_is_turned_round_as_in_pillow() -> None:
    mask = grey(9, 11) > 99
    data = written(mask, photometric=None)
    np.testing.assert_array_equal(image(data).pixels[..., 0], by_pillow(data))
    np.testing.assert_array_equal(image(data).pixels[..., 0], ~mask)


def test_a_fax_is_what_pillow_shows() -> None:
    data = saved(grey(9, 16) > 99, "TIFF", compression="group4", tiffinfo={262: 0})
    np.testing.assert_array_equal(image(data).pixels[..., 0], by_pillow(data))


def test_alpha_is_not_turned_round() -> None:
    stored = grey(5, 6, 2)
    data = written(stored, photometric="miniswhite", planarconfig="contig", extrasamples=["unassalpha"])
    found = image(data)
    np.testing.assert_array_equal(found.pixels, np.dstack([255 - stored[..., 0], stored[..., 1]]))
    assert found.kind is ChannelKind.GREY_ALPHA


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_a_palette_of_any_bits_gives_its_colours(bits: int) -> None:
    colours = grey(3, 2**bits, dtype="u2")
    body = grey(8 * bits)
    data = raw_tiff({262: PALETTE, 258: (3, [bits]), 320: (3, colours.ravel().tolist())}, body.tobytes())
    digits = np.unpackbits(body).reshape(64, bits)
    numbers = digits @ (1 << np.arange(bits)[::-1]) if bits < 16 else body.view("<u2")
    found = image(data)
    np.testing.assert_array_equal(found.pixels, colours.T[numbers.reshape(8, 8)])
    assert found.kind is ChannelKind.RGB


def test_a_palette_of_8_bit_values_is_made_16_bit() -> None:
    colours = grey(3, 256).astype(int)
    data = raw_tiff({262: PALETTE, 320: (3, colours.ravel().tolist())}, bytes(range(64)))
    np.testing.assert_array_equal(image(data).pixels.reshape(-1, 3), 257 * colours.T[:64])


def test_a_palette_with_alpha_is_rgba() -> None:
    colours, body = grey(3, 256, dtype="u2"), grey(8, 8, 2)
    tags = {262: PALETTE, 320: (3, colours.ravel().tolist()), 277: (3, [2]), 258: (3, [8, 8]), 338: (3, [2])}
    found = image(raw_tiff(tags, body.tobytes()))
    np.testing.assert_array_equal(found.pixels, np.dstack([colours.T[body[..., 0]], 257 * body[..., 1:].astype(int)]))
    assert found.kind is ChannelKind.RGBA


def test_a_palette_that_is_missing_is_damage() -> None:
    with pytest.raises(TruncatedImage, match="a palette TIFF without its palette"):
        image(raw_tiff({262: PALETTE}))


RGB, GREY = {"photometric": "rgb"}, {"photometric": "minisblack", "planarconfig": "contig"}


@pytest.mark.parametrize(
    ("channels", "options", "kind"),
    [
        (1, {}, ChannelKind.GREY),
        (2, GREY, ChannelKind.SEPARATE),
        (2, GREY | {"extrasamples": ["unassalpha"]}, ChannelKind.GREY_ALPHA),
        (2, GREY | {"extrasamples": ["assocalpha"]}, ChannelKind.GREY_ALPHA),
        (3, RGB, ChannelKind.RGB),
        (3, GREY, ChannelKind.SEPARATE),
        (4, RGB, ChannelKind.RGBA),
        (4, RGB | {"extrasamples": ["unspecified"]}, ChannelKind.SEPARATE),
        (4, GREY, ChannelKind.SEPARATE),
        (5, RGB | {"extrasamples": ["unassalpha", "unspecified"]}, ChannelKind.SEPARATE),
        (5, GREY, ChannelKind.SEPARATE),
    ],
)
def test_channels_are_colours_or_alpha_only_if_the_tags_say_so(
    channels: int, options: dict[str, Any], kind: ChannelKind
) -> None:
    pixels = grey(6, 7, channels) if channels > 1 else grey(6, 7)
    found = image(written(pixels, **options))
    np.testing.assert_array_equal(found.pixels, pixels.reshape(6, 7, channels))
    assert found.kind is kind


@pytest.mark.parametrize("kind", ["u1", "u2"])
@pytest.mark.parametrize("tile", [None, (16, 16)])
def test_samples_stored_by_band_come_as_channels(kind: str, tile: tuple[int, int] | None) -> None:
    pixels = grey(3, 20, 30, dtype=kind)
    found = image(written(pixels, photometric="rgb", planarconfig="separate", tile=tile))
    np.testing.assert_array_equal(found.pixels, np.moveaxis(pixels, 0, -1))


@pytest.mark.parametrize("tile", [None, (32, 32)])
def test_jpeg_by_band_decodes(tile: tuple[int, int] | None) -> None:
    bands = np.stack([np.add.outer(np.arange(48) * k, np.arange(80)) % 256 for k in (1, 2, 4)]).astype(np.uint8)
    data = written(bands, photometric="rgb", planarconfig="separate", compression="jpeg", tile=tile)
    found = image(data)
    assert found.kind is ChannelKind.RGB and found.pixels.shape == (48, 80, 3)
    assert np.abs(found.pixels.astype(int) - np.moveaxis(bands, 0, -1)).mean() < 6


def test_cmyk_becomes_rgb_with_a_note() -> None:
    picture = PillowImage.fromarray(grey(6, 7, 3)).convert("CMYK")
    found = image(saved(picture, "TIFF"))
    assert found.kind is ChannelKind.RGB and found.notes == ("CMYK was converted to RGB without a colour profile.",)
    assert np.abs(found.pixels.astype(int) - np.asarray(picture.convert("RGB"))).max() <= 2


def test_other_inks_are_refused() -> None:
    data = raw_tiff({262: (3, [5]), 277: (3, [4]), 332: (3, [2])}, bytes(256))
    with pytest.raises(NotAnImage, match="inks other than CMYK"):
        image(data)


@pytest.mark.parametrize("kind", ["i1", "i2", "i4", "i8", "u8", "f2", "f4", "f8"])
@pytest.mark.parametrize("predictor", [False, True])
def test_numbers_of_every_type_are_kept(kind: str, predictor: bool) -> None:
    pixels = (grey(16, 16).astype(int) - 99).astype(kind)
    predictor = predictor and kind not in ("i8", "u8")  # which tifffile does not write
    found = image(written(pixels, compression="deflate", predictor=predictor)).pixels
    np.testing.assert_array_equal(found[..., 0], pixels)
    assert found.dtype == pixels.dtype


@pytest.mark.parametrize("bits", [2, 4, 10, 12, 14])
def test_packed_bits_are_the_numbers_stored(bits: int) -> None:
    numbers = grey(8, 8, dtype="u2") & (2**bits - 1)
    digits = (numbers[..., None] >> np.arange(bits)[::-1]) & 1
    data = raw_tiff({258: (3, [bits])}, np.packbits(digits.reshape(8, -1), axis=1).tobytes())
    np.testing.assert_array_equal(image(data).pixels[..., 0], numbers)
