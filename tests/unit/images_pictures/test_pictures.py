"""PNG, JPEG and WebP of every colour model: the channels are what the format says, and the values are the file's."""

import struct

import imagecodecs
import numpy as np
import pytest
from PIL import Image as PillowImage
from PIL import ImageCms

from maskq.segmentation.errors import MultiPageImage, NotAnImage, TruncatedImage
from maskq.segmentation.images import ChannelKind, Image, read_image
from tests.image_files import Array, png, saved
from tests.unit.images_pictures.files import after_header, with_frame, with_segment

RANDOM = np.random.default_rng(11)
GREY = RANDOM.integers(0, 256, (24, 32), np.uint8)
GREY16 = GREY.astype(np.uint16) * 257
COLOUR = RANDOM.integers(0, 256, (24, 32, 3), np.uint8)
ROWS, COLUMNS = np.mgrid[:24, :32]
SMOOTH = np.dstack([8 * ROWS, 7 * COLUMNS, 255 - 7 * ROWS]).astype(np.uint8)
PALETTE = PillowImage.fromarray(GREY // 32, "P")
PALETTE.putpalette(RANDOM.integers(0, 256, 24, np.uint8).tolist())
SECOND = PillowImage.fromarray(SMOOTH[::-1])


def read(data: bytes) -> Image:
    image = read_image(data, "cells")
    assert isinstance(image, Image)
    return image


def deep(channels: int) -> bytes:
    return bytes(imagecodecs.png_encode(np.dstack([GREY16] * channels)))


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        pytest.param(saved(GREY, "PNG"), ChannelKind.GREY, id="png-grey"),
        pytest.param(saved(GREY > 99, "PNG"), ChannelKind.GREY, id="png-1-bit"),
        pytest.param(saved(GREY16, "PNG"), ChannelKind.GREY, id="png-grey-16"),
        pytest.param(saved(COLOUR[..., :2].copy(), "PNG"), ChannelKind.GREY_ALPHA, id="png-grey-alpha"),
        pytest.param(saved(COLOUR, "PNG"), ChannelKind.RGB, id="png-rgb"),
        pytest.param(saved(np.dstack([COLOUR, GREY]), "PNG"), ChannelKind.RGBA, id="png-rgba"),
        pytest.param(saved(PALETTE, "PNG"), ChannelKind.RGB, id="png-palette"),
        pytest.param(saved(PALETTE, "PNG", transparency=3), ChannelKind.RGBA, id="png-palette-transparent"),
        pytest.param(deep(2), ChannelKind.GREY_ALPHA, id="png-16-grey-alpha"),
        pytest.param(deep(3), ChannelKind.RGB, id="png-16-rgb"),
        pytest.param(deep(4), ChannelKind.RGBA, id="png-16-rgba"),
        pytest.param(saved(SMOOTH[..., 0].copy(), "JPEG"), ChannelKind.GREY, id="jpeg-grey"),
        pytest.param(saved(SMOOTH, "JPEG"), ChannelKind.RGB, id="jpeg-ycbcr"),
        pytest.param(saved(SMOOTH, "JPEG", keep_rgb=True), ChannelKind.RGB, id="jpeg-rgb"),
        pytest.param(saved(PillowImage.fromarray(SMOOTH).convert("CMYK"), "JPEG"), ChannelKind.RGB, id="jpeg-cmyk"),
        pytest.param(saved(COLOUR, "WEBP"), ChannelKind.RGB, id="webp"),
        pytest.param(saved(np.dstack([COLOUR, GREY]), "WEBP", lossless=True), ChannelKind.RGBA, id="webp-alpha"),
    ],
)
def test_the_kind_of_channels_is_the_formats_own_word(data: bytes, kind: ChannelKind) -> None:
    image = read(data)
    assert image.kind is kind and image.pixels.ndim == 3


@pytest.mark.parametrize("depth", [2, 4])
def test_grey_of_few_bits_is_spread_over_the_whole_range(depth: int) -> None:
    values = RANDOM.integers(0, 2**depth, (5, 8), np.uint8)
    bits = np.unpackbits(values[..., None], axis=2)[..., 8 - depth :].reshape(5, -1)
    rows = b"".join(b"\0" + np.packbits(row).tobytes() for row in bits)
    image = read(png(8, 5, rows, depth, colour=0))
    assert image.kind is ChannelKind.GREY
    np.testing.assert_array_equal(image.pixels[..., 0], values * (255 // (2**depth - 1)))


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
def test_palettes_of_every_depth_become_their_colours(depth: int) -> None:
    colours = RANDOM.integers(0, 256, (2**depth, 3), np.uint8)
    values = RANDOM.integers(0, 2**depth, (5, 8), np.uint8)
    bits = np.unpackbits(values[..., None], axis=2)[..., 8 - depth :].reshape(5, -1)
    rows = b"".join(b"\0" + np.packbits(row).tobytes() for row in bits)
    data = after_header(png(8, 5, rows, depth, colour=3), b"PLTE", colours.tobytes())
    np.testing.assert_array_equal(read(data).pixels, colours[values])


@pytest.mark.parametrize("pixels", [COLOUR, GREY], ids=["rgb", "grey"])
def test_a_single_transparent_colour_is_not_alpha(pixels: Array) -> None:
    transparent = b"\0\7" * (3 if pixels.ndim == 3 else 1)
    image = read(after_header(saved(pixels, "PNG"), b"tRNS", transparent))
    np.testing.assert_array_equal(image.pixels, pixels.reshape(24, 32, -1))


@pytest.mark.parametrize(
    ("kind", "body"),
    [(b"gAMA", struct.pack(">I", 45455)), (b"sBIT", b"\5\6\5"), (b"sRGB", b"\0"), (b"pHYs", bytes(9))],
)
def test_chunks_that_say_how_to_show_a_picture_change_no_value(kind: bytes, body: bytes) -> None:
    np.testing.assert_array_equal(read(after_header(saved(COLOUR, "PNG"), kind, body)).pixels, COLOUR)


def test_a_colour_profile_changes_no_value() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    np.testing.assert_array_equal(read(saved(COLOUR, "PNG", icc_profile=profile)).pixels, COLOUR)


@pytest.mark.parametrize("value", [0, 7, 255])
def test_a_constant_image_is_read(value: int) -> None:
    constant = np.full((9, 7, 3), value, np.uint8)
    for data in (saved(constant, "PNG"), saved(constant, "BMP"), saved(constant, "WEBP", lossless=True)):
        np.testing.assert_array_equal(read(data).pixels, constant)


def test_cmyk_is_converted_plainly_and_the_result_says_so() -> None:
    cmyk = PillowImage.fromarray(SMOOTH).convert("CMYK")
    image = read(saved(cmyk, "JPEG", quality=100))
    assert np.abs(image.pixels.astype(int) - SMOOTH).mean() < 3
    assert image.notes == ("CMYK was converted to RGB without the file's colour profile.",)


def test_inverted_cmyk_of_adobe_and_plain_ycck_are_the_same_picture() -> None:
    cmyk = PillowImage.fromarray(SMOOTH).convert("CMYK")
    plain = saved(cmyk, "JPEG", quality=100)  # Pillow writes it inverted, with Adobe's segment
    assert b"Adobe" in plain
    assert np.abs(read(plain).pixels.astype(int) - SMOOTH).mean() < 3
    ycck = bytes(imagecodecs.jpeg_encode(255 - np.asarray(cmyk), 100, colorspace="CMYK", outcolorspace="YCCK"))
    assert b"Adobe" in ycck
    assert np.abs(read(ycck).pixels.astype(int) - SMOOTH).mean() < 4


def test_cmyk_that_readers_show_differently_is_refused() -> None:
    data = saved(PillowImage.fromarray(SMOOTH).convert("CMYK"), "JPEG")
    start = data.index(b"\xff\xee")
    unmarked = data[:start] + data[start + 16 :]
    with pytest.raises(NotAnImage, match="CMYK JPEG without Adobe's mark, .*; save it as RGB"):
        read(unmarked)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_the_orientation_of_exif_is_applied(kind: str, orientation: int) -> None:
    exif = PillowImage.Exif()
    exif[0x112] = orientation
    pixels = read(saved(SMOOTH, kind, exif=exif, quality=100)).pixels
    plain = read(saved(SMOOTH, kind, quality=100)).pixels
    turns = {1: plain, 2: plain[:, ::-1], 3: np.rot90(plain, 2), 4: plain[::-1], 5: plain.swapaxes(0, 1)}
    turns |= {6: np.rot90(plain, -1), 7: np.rot90(plain, 2).swapaxes(0, 1), 8: np.rot90(plain)}
    np.testing.assert_array_equal(pixels, turns[orientation])


# Several pictures


@pytest.mark.parametrize(
    "trailer",
    [saved(SECOND, "JPEG"), b"MotionPhoto_Data" + saved(SECOND, "JPEG"), bytes(512) + saved(SECOND, "JPEG")],
    ids=["gain-map", "trailer", "padded"],
)
def test_the_first_picture_of_a_jpeg_is_read_and_the_result_says_so(trailer: bytes) -> None:
    first = saved(SMOOTH, "JPEG")
    image = read(first + trailer)
    np.testing.assert_array_equal(image.pixels, read(first).pixels)
    assert image.notes == ("The file holds more pictures after the first, which alone is read.",)


def test_the_first_picture_of_a_multi_picture_file_is_read() -> None:
    image = read(saved(SMOOTH, "MPO", save_all=True, append_images=[SECOND]))
    assert np.abs(image.pixels.astype(int) - SMOOTH).mean() < 4
    assert image.notes


def test_a_damaged_index_of_pictures_does_not_matter() -> None:
    first = saved(SMOOTH, "JPEG")
    image = read(with_segment(first, 0xE2, b"MPF\0II*\0\xff\xff\xff\xff") + first)
    np.testing.assert_array_equal(image.pixels, read(first).pixels)


@pytest.mark.parametrize("trailer", [b"\0" * 100, b"SEFT", b"no picture"])
def test_bytes_after_a_jpeg_that_are_no_picture_are_not_mentioned(trailer: bytes) -> None:
    assert read(saved(SMOOTH, "JPEG") + trailer).notes == ()


def test_a_thumbnail_inside_a_jpeg_is_not_a_second_picture() -> None:
    thumbnail = saved(SECOND.resize((8, 6)), "JPEG")
    image = read(with_segment(saved(SMOOTH, "JPEG"), 0xE1, b"Exif\0\0" + thumbnail))
    assert image.notes == () and image.pixels.shape == SMOOTH.shape


@pytest.mark.parametrize("kind", ["PNG", "WebP"])
def test_an_animation_is_refused_by_name(kind: str) -> None:
    data = saved(SMOOTH, kind, save_all=True, append_images=[SECOND])
    with pytest.raises(
        MultiPageImage, match=rf"^cells: an animated {kind}.*; save one .*as PNG, or all as a TIFF stack$"
    ):
        read(data)


# Rare kinds and damage


@pytest.mark.parametrize(
    ("marker", "depth", "kind"),
    [
        (0xC3, 8, "lossless"),
        (0xC5, 8, "hierarchical"),
        (0xC9, 8, "arithmetic"),
        (0xCA, 8, "arithmetic"),
        (0xC1, 12, "12-bit"),
        (0xF7, 8, "JPEG-LS"),
    ],
)
def test_a_rare_jpeg_is_refused_by_its_kind(marker: int, depth: int, kind: str) -> None:
    with pytest.raises(NotAnImage, match=rf"^cells: a JPEG of the rare kind '{kind}', .*; save it as PNG or TIFF$"):
        read(with_frame(saved(SMOOTH, "JPEG"), marker, depth))


def test_a_lossless_jpeg_and_a_jpeg_ls_by_another_library_are_refused_by_their_kind() -> None:
    with pytest.raises(NotAnImage, match="lossless"):
        read(bytes(imagecodecs.ljpeg_encode(GREY16)))
    with pytest.raises(NotAnImage, match="JPEG-LS"):
        read(bytes(imagecodecs.jpegls_encode(GREY)))


def test_a_jpeg_xt_is_refused_by_name() -> None:
    residual = b"JP\0\1" + struct.pack(">II4s", 1, 12, b"RESI")
    with pytest.raises(NotAnImage, match="a JPEG XT"):
        read(with_segment(saved(SMOOTH, "JPEG"), 0xEB, residual))


def test_content_credentials_do_not_make_a_jpeg_rare() -> None:
    credentials = b"JP\0\1" + struct.pack(">II4s", 1, 12, b"jumb")
    data = saved(SMOOTH, "JPEG")
    np.testing.assert_array_equal(read(with_segment(data, 0xEB, credentials)).pixels, read(data).pixels)


def test_a_png_that_went_through_a_transfer_of_text_is_named_as_such() -> None:
    data = saved(COLOUR, "PNG")
    with pytest.raises(TruncatedImage, match=r"^cells: .* damaged, as by a transfer as text; send it again as binary$"):
        read(data.replace(b"\r\n", b"\n"))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP"])
def test_any_cut_file_is_cut_short_and_never_something_else(kind: str) -> None:
    data = saved(SMOOTH, kind)
    for length in range(14, len(data) - 20, 37):
        with pytest.raises(TruncatedImage, match=r"^cells: "):
            read(data[:length])
