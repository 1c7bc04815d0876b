"""A strip or tile of a rarer TIFF compression is checked by its own header: a small file never claims a huge array."""

import io
import struct

import imagecodecs
import numpy as np
import pytest
import tifffile

from maskq.segmentation.errors import ImageError, ImageTooLarge, NotAnImage, TruncatedImage
from maskq.segmentation.images import jpeg2000
from maskq.segmentation.images.compressed_segments import ISOLATED, NAMES, READABLE, check_segment
from tests.image_files import Array, chunk

ROWS, COLUMNS = np.mgrid[:48, :64]
GREY = (120 + 60 * np.sin(COLUMNS / 7) + 50 * np.cos(ROWS / 5)).astype(np.uint8)
COLOUR = np.dstack([GREY, 255 - GREY, GREY // 2])
GREY16 = GREY.astype(np.uint16) * 99
JPEG2000, LERC, PNG, JPEG_XR, WEBP, JPEG_XL = 34712, 34887, 34933, 34934, 50001, 50002
#: All samples of a segment, and one fewer pixel.
ENOUGH, TOO_FEW = 48 * 64, 48 * 64 - 1


def segment(pixels: Array, compression: int) -> bytes:
    """The only strip of a TIFF by tifffile."""
    stream = io.BytesIO()
    kind = "rgb" if pixels.ndim == 3 else "minisblack"
    tifffile.imwrite(stream, pixels, compression=compression, photometric=kind)
    stream.seek(0)
    with tifffile.TiffFile(stream) as file:
        page = file.pages.first
        assert page.compression == compression
        return stream.getvalue()[page.dataoffsets[0] :][: page.databytecounts[0]]


VALID = [
    pytest.param(compression, pixels, id=f"{NAMES[compression]}-{kind}")
    for compression in (JPEG2000, LERC, PNG, JPEG_XR, WEBP, JPEG_XL)
    for kind, pixels in (("grey", GREY), ("grey-16", GREY16), ("colour", COLOUR), ("float", (GREY / 3).astype("f4")))
    if not (compression == WEBP and kind != "colour") and not (compression in (PNG, JPEG2000) and kind == "float")
]


@pytest.mark.parametrize(("compression", "pixels"), VALID)
def test_a_valid_segment_passes(compression: int, pixels: Array) -> None:
    check_segment(compression, segment(pixels, compression), ENOUGH, 3, "cells")


@pytest.mark.parametrize(("compression", "pixels"), VALID)
def test_a_segment_larger_than_its_tile_is_refused(compression: int, pixels: Array) -> None:
    data = segment(pixels, compression)
    with pytest.raises(TruncatedImage, match=r"^cells: damaged: a strip or tile of 3,071 pixels .* holds a .*48×64"):
        check_segment(compression, data, TOO_FEW, 3, "cells")


@pytest.mark.parametrize("compression", [JPEG2000, LERC, PNG, WEBP, JPEG_XL])
def test_a_segment_of_more_channels_than_its_tile_is_refused(compression: int) -> None:
    with pytest.raises(TruncatedImage, match=r"1 channels holds a .* and 3"):
        check_segment(compression, segment(COLOUR, compression), ENOUGH, 1, "cells")


def claiming(compression: int, size: int) -> bytes:
    """A small segment of 48×64 pixels whose header says `size` by `size`."""
    data = bytearray(segment(COLOUR, compression))
    if compression == JPEG2000:
        struct.pack_into(">II", data, 8, size, size)
        struct.pack_into(">II", data, 24, size, size)
    elif compression == LERC:
        struct.pack_into("<ii", data, 14, size, size)
    elif compression == PNG:
        data[8:33] = chunk(b"IHDR", struct.pack(">II", size, size) + bytes(data[24:29]))
    elif compression == WEBP:
        struct.pack_into("<I", data, 21, (size - 1) << 14 | (size - 1))
    elif compression == JPEG_XR:
        struct.pack_into(">HH", data, data.index(b"WMPHOTO") + 12, size - 1, size - 1)
        for tag in (0xBC80, 0xBC81):
            struct.pack_into("<I", data, data.index(struct.pack("<HHI", tag, 4, 1)) + 8, size)
    return bytes(data)


@pytest.mark.parametrize("compression", [JPEG2000, LERC, PNG, WEBP, JPEG_XR])
def test_a_segment_that_claims_a_larger_picture_than_its_tile_is_refused(compression: int) -> None:
    with pytest.raises((TruncatedImage, ImageTooLarge)):
        check_segment(compression, claiming(compression, 1_000), COLOUR.shape[0] * COLOUR.shape[1], 3, "cells")


def test_a_jpeg_xl_that_claims_a_huge_picture_is_refused() -> None:
    # Not small, height of 30 bits, ratio 1 (square), everything as usual.
    bits = 0 | 3 << 1 | (1 << 29) << 3 | 1 << 33 | 1 << 36
    with pytest.raises(TruncatedImage, match="536870913×536870913"):
        check_segment(JPEG_XL, b"\xff\x0a" + bits.to_bytes(8, "little"), ENOUGH, 3, "cells")


def with_style(data: bytes, **fields: int) -> bytes:
    """A JPEG 2000 with other bytes in its coding style, by their offset in it."""
    changed = bytearray(data)
    for place, value in fields.items():
        changed[data.index(b"\xff\x52") + int(place.removeprefix("at"))] = value
    return bytes(changed)


def test_a_jpeg2000_of_more_packets_than_bytes_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jpeg2000, "_FEW_BLOCKS", 200)
    with pytest.raises(TruncatedImage, match="packets"):  # 256 times as many layers
        check_segment(JPEG2000, with_style(segment(GREY, JPEG2000), at6=255), ENOUGH, 1, "cells")


def test_a_jpeg2000_of_very_many_blocks_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jpeg2000, "_FEW_BLOCKS", 20)
    data = segment(GREY, JPEG2000)
    check_segment(JPEG2000, data, ENOUGH, 1, "cells")
    with pytest.raises(ImageTooLarge, match="blocks"):
        check_segment(JPEG2000, with_style(data, at10=0, at11=0), ENOUGH, 1, "cells")  # blocks of 4×4


def test_a_jpeg2000_of_very_many_tiles_is_refused() -> None:
    data = bytearray(segment(GREY, JPEG2000))
    struct.pack_into(">II", data, 8, 4096, 4096)
    struct.pack_into(">II", data, 24, 4, 4)
    with pytest.raises(ImageTooLarge, match="1,048,576 tiles"):
        check_segment(JPEG2000, bytes(data), 4096**2, 1, "cells")


@pytest.mark.parametrize("compression", [JPEG2000, LERC, PNG])
@pytest.mark.parametrize("part", [0.2, 0.5, 0.9])
def test_a_segment_cut_short_is_refused(compression: int, part: float) -> None:
    data = segment(COLOUR, compression)
    with pytest.raises(TruncatedImage):
        check_segment(compression, data[: int(part * len(data))], ENOUGH, 3, "cells")


@pytest.mark.parametrize("compression", sorted({JPEG2000, LERC, PNG, WEBP, JPEG_XR, JPEG_XL}))
@pytest.mark.parametrize("data", [b"", b"no picture at all", bytes(100)], ids=["nothing", "text", "zeros"])
def test_a_segment_of_other_bytes_is_refused(compression: int, data: bytes) -> None:
    with pytest.raises(ImageError, match=r"^cells: "):
        check_segment(compression, data, ENOUGH, 3, "cells")


def test_animations_in_a_tiff_are_refused() -> None:
    frames = np.stack([COLOUR, COLOUR[::-1]])
    with pytest.raises(NotAnImage, match="animated JPEG XL"):
        check_segment(JPEG_XL, bytes(imagecodecs.jpegxl_encode(frames, photometric="rgb")), ENOUGH, 3, "cells")


def test_every_readable_compression_has_a_name_and_a_decoder_in_tifffile() -> None:
    assert set(NAMES) >= READABLE and READABLE >= ISOLATED
    assert all(compression in tifffile.TIFF.DECOMPRESSORS for compression in READABLE)


def test_every_compression_of_tifffile_has_a_name() -> None:
    assert {int(kind) for kind in tifffile.COMPRESSION} <= set(NAMES)
