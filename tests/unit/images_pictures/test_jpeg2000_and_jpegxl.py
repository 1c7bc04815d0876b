"""JPEG 2000 and JPEG XL files are read within the limits, or refused by what they are."""

import struct

import imagecodecs
import numpy as np
import pytest

from maskq.segmentation.errors import ImageTooLarge, MultiPageImage, NotAnImage, TruncatedImage
from maskq.segmentation.images import ChannelKind, Image, ImageLimits, isolated, jpegxl, read_image
from tests.image_files import Array
from tests.unit.images_pictures.files import box, jp2

ROWS, COLUMNS = np.mgrid[:40, :52]
GREY = (128 + 60 * np.sin(COLUMNS / 7) + 50 * np.cos(ROWS / 5)).astype(np.uint8)
COLOUR = np.dstack([GREY, 255 - GREY, GREY // 2])
GREY16 = GREY.astype(np.uint16) * 200
KINDS = {1: ChannelKind.GREY, 2: ChannelKind.GREY_ALPHA, 3: ChannelKind.RGB, 4: ChannelKind.RGBA}
ARRAYS = {
    "grey": GREY,
    "grey-16": GREY16,
    "grey-alpha": np.dstack([GREY, GREY]),
    "rgb": COLOUR,
    "rgb-16": COLOUR.astype(np.uint16) * 200,
    "rgba": np.dstack([COLOUR, GREY]),
}
EACH = pytest.mark.parametrize("pixels", ARRAYS.values(), ids=ARRAYS.keys())


def read(data: bytes, limits: ImageLimits = ImageLimits()) -> Image:
    image = read_image(data, "cells", limits)
    assert isinstance(image, Image)
    return image


def jpeg2000(pixels: Array, kind: str = "jp2") -> bytes:
    return bytes(imagecodecs.jpeg2k_encode(pixels, codecformat=kind))


def jpeg_xl(pixels: Array, **options: bool) -> bytes:
    return bytes(imagecodecs.jpegxl_encode(pixels, **options))


@EACH
@pytest.mark.parametrize("kind", ["jp2", "j2k"])
def test_a_jpeg2000_is_read_exactly(pixels: Array, kind: str) -> None:
    image = read(jpeg2000(pixels, kind))
    np.testing.assert_array_equal(image.pixels, pixels.reshape(40, 52, -1))
    channels = image.pixels.shape[2]
    kind_of = ChannelKind.SEPARATE if channels in (2, 4) else KINDS[channels]  # the encoder does not define alpha
    assert image.pixels.dtype == pixels.dtype and image.kind is kind_of


@EACH
@pytest.mark.parametrize("container", [False, True])
def test_a_jpeg_xl_is_read_exactly(pixels: Array, container: bool) -> None:
    image = read(jpeg_xl(pixels, usecontainer=container))
    np.testing.assert_array_equal(image.pixels, pixels.reshape(40, 52, -1))
    assert image.pixels.dtype == pixels.dtype and image.kind is KINDS[image.pixels.shape[2]]


def test_a_jpeg_xl_of_floats_is_read_exactly() -> None:
    floats = (GREY / 300).astype(np.float32)
    np.testing.assert_array_equal(read(jpeg_xl(floats)).pixels[..., 0], floats)


def test_a_jpeg2000_in_ycbcr_becomes_rgb() -> None:
    grey = jp2(jpeg2000(np.dstack([GREY, GREY * 0 + 128, GREY * 0 + 128]), "j2k"), colour_space(18))
    image = read(grey)
    np.testing.assert_array_equal(image.pixels, np.dstack([GREY] * 3))
    assert image.kind is ChannelKind.RGB and image.notes == ("YCbCr was converted to RGB.",)
    red = read(jp2(jpeg2000(np.full((4, 4, 3), (76, 85, 255), np.uint8), "j2k"), colour_space(18)))
    np.testing.assert_allclose(red.pixels[0, 0], (254, 0, 0), atol=1)


def colour_space(number: int) -> bytes:
    return box(b"colr", b"\1\0\0" + struct.pack(">I", number))


def definitions(*channels: tuple[int, int, int]) -> bytes:
    return box(b"cdef", struct.pack(">H", len(channels)) + b"".join(struct.pack(">3H", *c) for c in channels))


def test_the_alpha_of_a_jpeg2000_is_what_its_definitions_say() -> None:
    stream = jpeg2000(np.dstack([COLOUR, GREY]), "j2k")
    colours = [(0, 0, 1), (1, 0, 2), (2, 0, 3)]
    assert read(jp2(stream, definitions(*colours, (3, 1, 0)))).kind is ChannelKind.RGBA
    assert read(jp2(stream, definitions(*colours, (3, 65535, 65535)))).kind is ChannelKind.SEPARATE


@pytest.mark.parametrize("space", [b"", colour_space(17)], ids=["none", "grey"])
def test_two_channels_of_a_jpeg2000_are_grey_and_alpha_only_by_definition(space: bytes) -> None:
    stream = jpeg2000(np.dstack([GREY, GREY]), "j2k")
    assert read(jp2(stream, space)).kind is ChannelKind.SEPARATE
    assert read(jp2(stream, space + definitions((0, 0, 1), (1, 1, 0)))).kind is ChannelKind.GREY_ALPHA


def test_four_channels_in_srgb_are_rgba_only_by_definition() -> None:
    stream = jpeg2000(np.dstack([COLOUR, GREY]), "j2k")
    assert read(jp2(stream, colour_space(16))).kind is ChannelKind.SEPARATE


@pytest.mark.parametrize("kind", ["jp2", "j2k"])
def test_five_channels_of_a_jpeg2000_are_separate(kind: str) -> None:
    five = np.dstack([COLOUR, GREY, GREY])
    image = read(jpeg2000(five, kind))
    np.testing.assert_array_equal(image.pixels, five)
    assert image.kind is ChannelKind.SEPARATE


@pytest.mark.parametrize("count", [2, 3, 5])
def test_extra_channels_of_a_jpeg_xl_are_separate_unless_they_are_alpha(count: int) -> None:
    planes = np.stack([GREY // (number + 1) for number in range(count)])
    image = read(bytes(imagecodecs.jpegxl_encode(planes, planar=True)))
    np.testing.assert_array_equal(image.pixels, np.moveaxis(planes, 0, -1))
    assert image.kind is ChannelKind.SEPARATE


def test_channels_of_a_jpeg_xl_whose_order_is_not_known_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    header = jpegxl.Header(40, 52, 3, alpha=True, extra_channels=2, animated=False, orientation=1)
    monkeypatch.setattr(jpegxl, "read_header", lambda *_: header)
    with pytest.raises(NotAnImage, match=r"^cells: a JPEG XL of 5 channels .*save it as TIFF$"):
        read(jpeg_xl(COLOUR))


@pytest.mark.parametrize(
    ("data", "error", "content"),
    [
        pytest.param(jp2(jpeg2000(GREY, "j2k"), box(b"pclr", bytes(9))), NotAnImage, "a palette", id="palette"),
        pytest.param(jp2(jpeg2000(COLOUR, "j2k"), colour_space(12)), NotAnImage, "colour space 12", id="cmyk"),
        pytest.param(
            jp2(jpeg2000(COLOUR, "j2k"), definitions((0, 0, 3), (1, 0, 2), (2, 0, 1))),
            NotAnImage, "unusual order", id="bgr",
        ),
        pytest.param(
            jp2(jpeg2000(GREY, "j2k")) + box(b"jp2c", jpeg2000(GREY, "j2k")),
            MultiPageImage, "2 pictures in a JPEG 2000 file, as in an older ND2", id="older-nd2",
        ),
        pytest.param(jpeg2000(GREY.astype(np.uint32) << 18), NotAnImage, "over 16 bits", id="26-bits"),
        pytest.param(
            jpeg_xl(np.stack([GREY, GREY, GREY])), MultiPageImage, "an animated JPEG XL", id="animated-jpeg-xl"
        ),
    ],
)  # fmt: skip
def test_rarer_kinds_are_refused_by_name(data: bytes, error: type[Exception], content: str) -> None:
    with pytest.raises(error, match=rf"^cells: .*{content}.*; save "):
        read(data)


@pytest.mark.parametrize("data", [jpeg2000(GREY), jpeg2000(GREY, "j2k"), jpeg_xl(GREY)], ids=["jp2", "j2k", "jxl"])
def test_a_picture_over_the_limit_is_refused_before_it_is_decoded(data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(imagecodecs, "jpeg2k_decode", None)
    monkeypatch.setattr(isolated, "decode", None)
    with pytest.raises(ImageTooLarge, match=r"40×52 is 2,080 pixels, over the limit of 2,000"):
        read(data, ImageLimits(max_pixels=2000))


@pytest.mark.parametrize("data", [jpeg2000(COLOUR), jpeg2000(COLOUR, "j2k")], ids=["jp2", "j2k"])
def test_a_jpeg2000_cut_anywhere_is_never_half_a_picture(data: bytes) -> None:
    for length in range(16, len(data) - 2, 61):
        with pytest.raises(TruncatedImage, match=r"^cells: "):
            read(data[:length])


@pytest.mark.parametrize("container", [False, True])
def test_a_jpeg_xl_cut_short_is_refused(container: bool) -> None:
    data = jpeg_xl(COLOUR, usecontainer=container)
    for length in (14, len(data) // 2, len(data) - 8):
        with pytest.raises(TruncatedImage, match=r"^cells: "):
            read(data[:length])


# The process of a decoder


def test_a_decoder_gets_no_more_memory_than_its_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isolated, "_BASE_MEMORY", 64 * 2**20)  # less than NumPy needs
    with pytest.raises((ImageTooLarge, TruncatedImage)):
        isolated.decode("jpegxl", jpeg_xl(GREY), 0, "cells")


def test_a_decoder_that_takes_too_long_is_ended() -> None:
    with pytest.raises(ImageTooLarge, match=r"^cells: not decoded in 0 s; save it as TIFF with deflate, or as PNG$"):
        isolated.decode("jpegxl", jpeg_xl(GREY), GREY.size, "cells", seconds=0)


def test_a_decoder_that_cannot_be_started_is_not_the_files_damage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", "/nonexistent/python")
    with pytest.raises(ImageTooLarge, match="can't be started"):
        isolated.decode("jpegxl", jpeg_xl(GREY), GREY.size, "cells")


def test_the_header_of_a_jpeg_xl_may_be_in_several_boxes() -> None:
    stream = jpeg_xl(COLOUR)
    halves = [
        box(b"jxlp", struct.pack(">I", number | last << 31) + part)
        for number, last, part in ((0, 0, stream[:9]), (1, 1, stream[9:]))
    ]
    data = jpegxl.FILE_MAGIC + box(b"ftyp", b"jxl \0\0\0\0jxl ") + b"".join(halves)
    np.testing.assert_array_equal(read(data).pixels, COLOUR)
