"""Any bytes decode to the file's pixels, or raise an error that says what is wrong with the file."""

from __future__ import annotations

import gc
import io
import logging
import math
import resource
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image, ImageOps

from maskq.segmentation.errors import (
    EmptyImage,
    ImageError,
    ImageTooLarge,
    MultiPageImage,
    NonFiniteImage,
    NotAnImage,
    TruncatedImage,
)
from maskq.segmentation.images import ImageLimits, Stack, View, checks, decode, jpeg, read_image
from maskq.segmentation.images import png as png_reader
from maskq.segmentation.images.tiff import directory as tiff_directory
from maskq.segmentation.images.tiff import pages as tiff_pages
from tests.image_files import (
    Array,
    chunk,
    jpeg_claiming,
    npy,
    npy_header,
    npy_text,
    orientation_exif,
    png,
    raw_tiff,
    saved,
    segment,
    tiff,
    tiff_with,
)

RANDOM = np.random.default_rng(0)
GREY: Array = RANDOM.integers(0, 256, (13, 17), np.uint8)
GREY16: Array = RANDOM.integers(0, 65536, (13, 17), np.uint16)
COLOUR: Array = RANDOM.integers(0, 256, (13, 17, 3), np.uint8)
#: A smooth picture, which lossy formats change little.
SMOOTH: Array = np.stack([np.add.outer(np.arange(24) * k, np.arange(40) * 2) for k in (1, 3, 5)], 2).astype(np.uint8)
PALETTE = Image.fromarray(COLOUR).quantize(16)
MEGAPIXEL = ImageLimits(max_pixels=1_000_000)
#: All Exif orientations.
ORIENTATIONS = range(1, 9)
THOROUGH = settings(deadline=None)


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, "tifffile")


@contextmanager
def memory_for(megabytes: int) -> Iterator[None]:
    """Limit the process to this much more memory; no limit on systems without /proc."""
    if not Path("/proc/self/statm").exists():
        yield
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    current = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (current + megabytes * 2**20, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def webp_claiming(width: int, height: int) -> bytes:
    data = bytearray(saved(SMOOTH, "WEBP", save_all=True, append_images=[Image.fromarray(SMOOTH[::-1])]))
    data[24:30] = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return bytes(data)


# Pixels


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        pytest.param(saved(GREY, "PNG"), GREY, id="png-grey-8"),
        pytest.param(saved(GREY16, "PNG"), GREY16, id="png-grey-16"),
        pytest.param(saved(GREY > 99, "PNG"), GREY > 99, id="png-1-bit"),
        pytest.param(saved(COLOUR, "PNG"), COLOUR, id="png-rgb"),
        pytest.param(saved(COLOUR[..., :2].copy(), "PNG"), COLOUR[..., :2], id="png-grey-alpha"),
        pytest.param(saved(np.dstack([COLOUR, GREY]), "PNG"), np.dstack([COLOUR, GREY]), id="png-rgba"),
        pytest.param(saved(PALETTE, "PNG"), np.asarray(PALETTE.convert("RGB")), id="png-palette"),
        pytest.param(saved(COLOUR, "BMP"), COLOUR, id="bmp-rgb"),
        pytest.param(saved(GREY, "BMP"), GREY, id="bmp-grey"),
        pytest.param(saved(GREY > 99, "BMP"), GREY > 99, id="bmp-1-bit"),
        pytest.param(saved(PALETTE, "BMP"), np.asarray(PALETTE.convert("RGB")), id="bmp-palette"),
        pytest.param(saved(COLOUR, "WEBP", lossless=True), COLOUR, id="webp"),
        pytest.param(tiff(GREY), GREY, id="tiff-8"),
        pytest.param(tiff(GREY16), GREY16, id="tiff-16"),
        pytest.param(tiff(GREY16, byteorder=">"), GREY16, id="tiff-big-endian"),
        pytest.param(tiff(GREY16, bigtiff=True), GREY16, id="tiff-big"),
        pytest.param(tiff((GREY / 7).astype("f4")), (GREY / 7).astype("f4"), id="tiff-float32"),
        pytest.param(tiff(GREY / 7), GREY / 7, id="tiff-float64"),
        pytest.param(tiff(GREY16.astype("u4") * 9), GREY16.astype("u4") * 9, id="tiff-32"),
        pytest.param(tiff(-GREY.astype("i2")), -GREY.astype("i2"), id="tiff-signed"),
        pytest.param(tiff(COLOUR), COLOUR, id="tiff-rgb"),
        pytest.param(tiff(COLOUR, tile=(16, 16)), COLOUR, id="tiff-tiled"),
        pytest.param(tiff(COLOUR.transpose(2, 0, 1), photometric="rgb", planarconfig=2), COLOUR, id="tiff-rgb-planar"),
        pytest.param(tiff(np.dstack([COLOUR] * 2), planarconfig=1), np.dstack([COLOUR] * 2), id="tiff-6-contiguous"),
        pytest.param(
            tiff(np.dstack([COLOUR] * 2).transpose(2, 0, 1).copy(), planarconfig=2, tile=(16, 16)),
            np.dstack([COLOUR] * 2),
            id="tiff-6-planar-tiled",
        ),
        *(
            pytest.param(tiff(COLOUR, compression=method), COLOUR, id=f"tiff-{method}")
            for method in ("deflate", "lzw", "packbits", "lzma", "zstd")
        ),
        pytest.param(tiff(GREY16, compression="deflate", predictor=True), GREY16, id="tiff-predictor"),
        pytest.param(saved(GREY > 99, "TIFF"), GREY > 99, id="tiff-1-bit"),
        pytest.param(saved(GREY > 99, "TIFF", compression="group4"), GREY > 99, id="tiff-fax"),
        pytest.param(npy(GREY), GREY, id="npy"),
        pytest.param(npy(GREY16, (1, 0)), GREY16, id="npy-v1"),
        pytest.param(npy(GREY16, (2, 0)), GREY16, id="npy-v2"),
        pytest.param(npy(GREY16.astype(">u2")), GREY16, id="npy-big-endian"),
        pytest.param(npy(np.asfortranarray(COLOUR)), COLOUR, id="npy-fortran-order"),
        pytest.param(npy(GREY > 99), GREY > 99, id="npy-bool"),
        pytest.param(npy(GREY16 / 3), GREY16 / 3, id="npy-float64"),
    ],
)
def test_pixels_are_decoded_exactly(data: bytes, expected: Array) -> None:
    pixels = decode(data)
    np.testing.assert_array_equal(pixels, expected.reshape(*expected.shape[:2], -1))
    assert pixels.dtype == expected.dtype and pixels.flags.c_contiguous


@pytest.mark.parametrize("channels", [2, 3, 4])
def test_a_16_bit_colour_png_keeps_16_bits(channels: int) -> None:
    deep = RANDOM.integers(0, 65536, (9, 11, channels), np.uint16)
    pixels = decode(bytes(imagecodecs.png_encode(deep)))
    assert pixels.dtype == np.uint16
    np.testing.assert_array_equal(pixels, deep)


@THOROUGH
@given(hnp.arrays(np.uint16, st.tuples(st.integers(1, 20), st.integers(1, 20), st.integers(2, 4))), st.integers(1, 200))
def test_a_16_bit_colour_png_decodes_the_same_in_bands_of_any_height(deep: Array, band: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checks, "_BAND", band)
        np.testing.assert_array_equal(decode(bytes(imagecodecs.png_encode(deep))), deep)


@pytest.mark.parametrize("band", [8, 1 << 20])
@pytest.mark.parametrize("shape", [(1, 1), (5, 7), (3, 40), (17, 16)])
def test_an_interlaced_16_bit_colour_png_is_decoded(
    shape: tuple[int, int], band: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks, "_BAND", band)
    deep = RANDOM.integers(0, 65536, (*shape, 3), np.uint16)
    passes = [deep[0::8, 0::8], deep[0::8, 4::8], deep[4::8, 0::4], deep[0::4, 2::4], deep[2::4, 0::2]]
    passes += [deep[0::2, 1::2], deep[1::2, 0::1]]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for part in passes if part.size for row in part)
    np.testing.assert_array_equal(decode(png(shape[1], shape[0], rows, interlaced=True)), deep)


def test_a_transparent_colour_of_a_palette_becomes_alpha() -> None:
    pixels = decode(saved(PALETTE, "PNG", transparency=3))
    np.testing.assert_array_equal(pixels[..., :3], np.asarray(PALETTE.convert("RGB")))
    np.testing.assert_array_equal(pixels[..., 3] == 0, np.asarray(PALETTE) == 3)


def test_a_tiff_palette_is_expanded_to_its_16_bit_colours() -> None:
    colours = RANDOM.integers(0, 65536, (3, 256), np.uint16)
    pixels = decode(tiff(GREY, photometric="palette", colormap=colours))
    np.testing.assert_array_equal(pixels, colours.T[GREY])


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(saved(SMOOTH, "JPEG", quality=95), id="jpeg"),
        pytest.param(saved(SMOOTH, "JPEG", quality=95, progressive=True), id="jpeg-progressive"),
        pytest.param(saved(SMOOTH, "WEBP", quality=95), id="webp"),
        pytest.param(tiff(SMOOTH, compression="jpeg", compressionargs={"level": 95}), id="tiff-jpeg"),
        pytest.param(saved(Image.fromarray(SMOOTH).convert("CMYK"), "JPEG", quality=95), id="jpeg-cmyk"),
        pytest.param(saved(Image.fromarray(SMOOTH).convert("CMYK"), "TIFF"), id="tiff-cmyk"),
    ],
)
def test_lossy_files_and_other_colour_spaces_decode_to_nearly_the_same_rgb(data: bytes) -> None:
    pixels = decode(data)
    assert pixels.shape == SMOOTH.shape and pixels.dtype == np.uint8
    assert np.abs(pixels.astype(int) - SMOOTH).mean() < 4


@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_exif_orientation_is_applied(kind: str, orientation: int) -> None:
    image = Image.fromarray(COLOUR)
    image.getexif()[0x112] = orientation
    options = {"exif": orientation_exif(orientation), "lossless": True}
    np.testing.assert_array_equal(decode(saved(COLOUR, kind, **options)), np.asarray(ImageOps.exif_transpose(image)))


def test_exif_orientation_is_applied_to_a_jpeg() -> None:
    pixels = decode(saved(SMOOTH, "JPEG", quality=95, exif=orientation_exif(6)))
    assert np.abs(pixels.astype(int) - np.rot90(SMOOTH, -1)).mean() < 4


def test_exif_orientation_is_applied_to_a_16_bit_colour_png() -> None:
    deep = np.dstack([GREY16] * 3)
    file = imagecodecs.png_encode(deep)
    exif = orientation_exif(8).tobytes().removeprefix(b"Exif\0\0")
    np.testing.assert_array_equal(decode(bytes(file[:33] + chunk(b"eXIf", exif) + file[33:])), np.rot90(deep))


def test_a_damaged_exif_block_is_ignored() -> None:
    file = saved(COLOUR, "PNG")
    np.testing.assert_array_equal(decode(file[:33] + chunk(b"eXIf", b"II*\0\xff\xff\xff") + file[33:]), COLOUR)


def test_bytes_after_the_end_of_an_array_are_ignored() -> None:
    np.testing.assert_array_equal(decode(npy(GREY) + b"more")[..., 0], GREY)


@THOROUGH
@given(
    hnp.arrays(
        st.sampled_from(["?", "u1", "u2", ">u2", "i4", "f4", "f8"]),
        hnp.array_shapes(min_dims=2, max_dims=3, max_side=6),
        elements={"allow_nan": False, "allow_infinity": False},
    )
)
def test_any_array_round_trips_through_npy(pixels: Array) -> None:
    image = read_image(npy(pixels), view=View(axes="YXC"[: pixels.ndim]))
    assert not isinstance(image, Stack)
    decoded = image.pixels
    np.testing.assert_array_equal(decoded, pixels.reshape(*pixels.shape[:2], -1))
    assert decoded.dtype == pixels.dtype.newbyteorder("=")


@THOROUGH
@given(
    hnp.arrays(
        st.sampled_from(["u1", "u2", "i2", "u4", "f4"]),
        hnp.array_shapes(min_dims=2, max_dims=2, max_side=20),
        elements=st.integers(0, 250),
    ),
    st.sampled_from([None, "lzw", "deflate", "packbits", "zstd"]),
    st.booleans(),
    st.sampled_from("<>"),
)
def test_any_array_round_trips_through_tiff(pixels: Array, compression: str | None, tiled: bool, order: str) -> None:
    data = tiff(pixels, compression=compression, tile=(16, 16) if tiled else None, byteorder=order)
    np.testing.assert_array_equal(decode(data)[..., 0], pixels)


@THOROUGH
@given(hnp.arrays(st.sampled_from(["u1", "u2"]), st.tuples(st.integers(1, 20), st.integers(1, 20), st.integers(1, 4))))
def test_any_array_round_trips_through_png(pixels: Array) -> None:
    data = bytes(imagecodecs.png_encode(pixels[..., 0] if pixels.shape[2] == 1 else pixels))
    np.testing.assert_array_equal(decode(data), pixels)


# Errors


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"Dear sir or madam", id="text"),
        pytest.param(b"BMW sells cars, not bitmaps", id="text-like-a-bitmap"),
        pytest.param(saved(COLOUR, "GIF"), id="gif"),
        pytest.param(npy(GREY.astype("c8")), id="npy-complex"),
        pytest.param(npy(np.array([["a", "b"]])), id="npy-strings"),
        pytest.param(npy_header("(1, 1)", "|O"), id="npy-objects"),
        pytest.param(npy(np.zeros((2, 2), "M8[s]")), id="npy-dates"),
        pytest.param(npy(np.zeros((2, 2), [("red", "u1")])), id="npy-records"),
        pytest.param(npy(GREY[0]), id="npy-one-dimension"),
        pytest.param(npy(np.zeros((2, 2, 2, 2))), id="npy-four-dimensions"),
        pytest.param(npy(np.zeros((2, 2, 17))), id="npy-17-channels"),
        pytest.param(tiff(np.zeros((2, 2, 17), "u1"), planarconfig=1), id="tiff-17-channels"),
        pytest.param(tiff(GREY.astype("c8")), id="tiff-complex"),
        pytest.param(saved(Image.fromarray(COLOUR).convert("LAB"), "TIFF"), id="tiff-lab"),
        pytest.param(tiff_with(tiff(GREY16), BitsPerSample=7 * 16 + 1), id="tiff-113-bits"),
    ],
)
def test_unsupported_files_raise_not_an_image(data: bytes) -> None:
    with pytest.raises(NotAnImage, match=r"^holiday\.png: "):
        decode(data, "holiday.png")


def test_pickled_objects_in_an_array_are_never_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loading a pickle can run any program. The object in this one is an ordinary list."""
    monkeypatch.setattr("pickle.load", lambda *_, **__: pytest.fail("a pickle was loaded"))
    objects = np.empty((1, 1), object)
    objects[0, 0] = [1, 2]
    with pytest.raises(NotAnImage):
        decode(npy(objects, pickled=True))


FILES = {
    "png": saved(COLOUR, "PNG"),
    "png-palette": saved(PALETTE, "PNG"),
    "png-16": saved(GREY16, "PNG"),
    "png-16-rgb": bytes(imagecodecs.png_encode(np.dstack([GREY16] * 3))),
    "jpeg": saved(SMOOTH, "JPEG"),
    "bmp": saved(COLOUR, "BMP"),
    "webp": saved(SMOOTH, "WEBP"),
    "webp-lossless": saved(COLOUR, "WEBP", lossless=True),
    "npy": npy(GREY16),
    "npy-v2": npy(GREY, (2, 0)),
    "tiff": tiff(COLOUR),
    "tiff-lzw": tiff(COLOUR, compression="lzw"),
    "tiff-deflate": tiff(COLOUR, compression="deflate", predictor=True, rowsperstrip=4),
    "tiff-jpeg": tiff(SMOOTH, compression="jpeg"),
    "tiff-tiled": tiff(COLOUR, tile=(16, 16), byteorder=">"),
    "tiff-big": tiff(GREY16, bigtiff=True),
    "tiff-palette": tiff(GREY, photometric="palette", colormap=np.zeros((3, 256), np.uint16)),
    "tiff-fax": saved(GREY > 99, "TIFF", compression="group4"),
}
EACH_FILE = pytest.mark.parametrize("data", FILES.values(), ids=FILES.keys())


@EACH_FILE
@pytest.mark.parametrize("part", [0.1, 0.3, 0.5, 0.7, 0.9])
def test_a_truncated_file_raises_truncated_image(data: bytes, part: float) -> None:
    with pytest.raises(TruncatedImage, match=r"^cells: "):
        decode(data[: max(12, int(len(data) * part))], "cells")


@EACH_FILE
def test_a_file_truncated_anywhere_never_decodes_to_half_a_picture(data: bytes) -> None:
    whole = decode(data)
    for end in {*range(0, len(data), 5), *range(max(0, len(data) - 40), len(data))}:
        try:
            np.testing.assert_array_equal(decode(data[:end]), whole)  # the missing bytes held no pixel
        except (TruncatedImage, NotAnImage) as error:
            assert isinstance(error, TruncatedImage) or end < 12


@pytest.mark.parametrize("name", [name for name in FILES if name.startswith("png")])
def test_a_png_with_a_bit_flipped_in_its_pixels_is_refused(name: str) -> None:
    damaged = bytearray(FILES[name])
    damaged[damaged.index(b"IDAT") + 20] ^= 4
    with pytest.raises(TruncatedImage):
        decode(bytes(damaged))


def test_a_tiff_with_a_missing_strip_is_refused() -> None:
    hole = tiff_with(tiff(GREY, compression="deflate"), StripByteCounts=0)
    with pytest.raises(TruncatedImage, match="cut short"):
        decode(hole)


def test_a_tiff_whose_strips_overlap_is_refused() -> None:
    data = bytearray(tiff(COLOUR, compression="deflate", rowsperstrip=1))
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        offsets, counts = (file.pages.first.tags[tag] for tag in ("StripOffsets", "StripByteCounts"))
        for tag, value in ((offsets, 8), (counts, len(data) // 2)):
            kind = {3: "H", 4: "I"}[tag.dtype]
            struct.pack_into(f"<{tag.count}{kind}", data, tag.valueoffset, *[value] * tag.count)
    with pytest.raises(TruncatedImage, match="overlap"):
        decode(bytes(data))


def test_a_tiff_whose_width_is_a_list_is_refused() -> None:
    data = bytearray(tiff(GREY))
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        struct.pack_into("<I", data, file.pages.first.tags["ImageWidth"].offset + 4, 2)
    with pytest.raises(TruncatedImage, match="tag 256 is not one integer"):
        decode(bytes(data))


@pytest.mark.parametrize("damage", ["unknown filter", "wrong checksum", "cut short"])
def test_damaged_rows_of_a_16_bit_colour_png_never_reach_imagecodecs(
    damage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """imagecodecs 2026.3.6 loses a reference to None with each damaged PNG; Python 3.11 aborts when none are left."""
    whole = FILES["png-16-rgb"]
    flipped = whole[:-25] + bytes([whole[-25] ^ 1]) + whole[-24:]
    damaged = {"unknown filter": png(1, 1, b"\x09" + bytes(6)), "wrong checksum": flipped, "cut short": whole[:-60]}
    monkeypatch.setattr(imagecodecs, "png_decode", lambda _: pytest.fail("imagecodecs was given damaged rows"))
    with pytest.raises(TruncatedImage):
        decode(damaged[damage])


@EACH_FILE
def test_a_file_of_too_many_bytes_is_refused(data: bytes) -> None:
    with pytest.raises(ImageTooLarge, match=f"^cells: {len(data):,} bytes, over the limit of 99 bytes$"):
        decode(data, "cells", ImageLimits(max_bytes=99))


@EACH_FILE
def test_an_image_of_too_many_pixels_is_refused(data: bytes) -> None:
    pixels = math.prod(decode(data).shape[:2])
    assert decode(data, limits=ImageLimits(max_pixels=pixels)).size >= pixels
    with pytest.raises(ImageTooLarge, match=rf"^cells: .*{pixels} pixels, over the limit of {pixels - 1} pixels$"):
        decode(data, "cells", ImageLimits(max_pixels=pixels - 1))


#: Files without pixels whose header claims 25 to 60 MB of them.
OVERSTATED = {
    "png": png(3_000, 3_000, b"", depth=8),
    "png-16-rgb": png(3_000, 3_000, b""),
    "png-16-grey": png(5_000, 5_000, b"", colour=0),
    "png-long": png(8_000_000, 1, b"", depth=8),
    "jpeg": jpeg_claiming(saved(SMOOTH, "JPEG"), 3_000, 3_000),
    "webp": webp_claiming(2_000, 2_000),
    "npy": npy_header("(5000, 5000)"),
    "npy-wide": npy_header("(1, 100000000000000000000000000)"),
    "tiff": tiff_with(tiff(GREY), ImageWidth=5_000, ImageLength=5_000),
    "tiff-tile": tiff_with(tiff(GREY, tile=(16, 16)), TileWidth=5_000, TileLength=5_000),
    "tiff-deep": tiff_with(
        tiff(np.zeros((4, 4, 16)), compression="zstd", planarconfig=1), ImageWidth=700, ImageLength=700
    ),
}


@pytest.mark.parametrize("data", OVERSTATED.values(), ids=OVERSTATED.keys())
def test_a_size_over_the_limit_in_the_header_is_refused_before_allocation(data: bytes) -> None:
    assert len(data) < 3_000
    with memory_for(megabytes=16), pytest.raises(ImageTooLarge, match="^cells: .* over the limit of "):
        decode(data, "cells", MEGAPIXEL)


def test_a_16_bit_colour_png_longer_than_libpng_reads_is_too_large() -> None:
    with pytest.raises(ImageTooLarge, match="1×1000001, over the limit of 1,000,000 a side"):
        decode(png(1_000_001, 1, b""))


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(npy_header("(2900, 2900, 3)", "<f4"), id="npy"),
        pytest.param(png(4_000, 4_000, bytes(99)), id="png-16-rgb"),
        pytest.param(tiff_with(tiff(COLOUR, compression="lzw"), ImageWidth=5_000, ImageLength=5_000), id="tiff"),
        pytest.param(
            tiff(SMOOTH, compression="jpeg").replace(b"\x08\0\x18\0\x28", b"\x08\x13\x88\x13\x88"), id="tiff-jpeg"
        ),
    ],
)
def test_a_truncated_file_with_a_size_within_the_limit_allocates_little_memory(data: bytes) -> None:
    with memory_for(megabytes=48), pytest.raises(TruncatedImage, match="^cells: "):
        decode(data, "cells")


@pytest.mark.parametrize(
    ("data", "megabytes"),
    [
        pytest.param(bytes(imagecodecs.png_encode(np.zeros((2000, 2000, 4), np.uint16))), 128, id="png-16-rgba"),
        pytest.param(saved(Image.new("CMYK", (2000, 2000)), "TIFF", compression="tiff_deflate"), 112, id="tiff-cmyk"),
    ],
)
def test_decoding_needs_at_most_a_few_times_the_memory_of_the_pixels(data: bytes, megabytes: int) -> None:
    with memory_for(megabytes):
        assert decode(data).shape[:2] == (2000, 2000)


def test_a_tiff_is_freed_without_garbage_collection() -> None:
    data = tiff(np.zeros((4000, 4000), np.uint8))
    gc.collect()
    gc.disable()
    try:
        with memory_for(megabytes=96):
            for _ in range(8):
                decode(data)
    finally:
        gc.enable()


def test_a_tiff_with_far_more_tile_pixels_than_image_pixels_is_refused() -> None:
    tile = bytes(imagecodecs.zstd_encode(bytes(2**24)))
    tags = {256: 1, 257: 16 * 5, 259: 50_000, 322: 2**20, 323: 16}
    lists = {324: [16 + n * len(tile) for n in range(5)], 325: [len(tile)] * 5}
    shape = {tag: (4, [value]) for tag, value in tags.items()} | {tag: (4, values) for tag, values in lists.items()}
    data = raw_tiff({273: None, 278: None, 279: None, **shape}, tile * 5)
    with pytest.raises(ImageTooLarge, match=r"83,886,080 bytes of pixels, over the limit of 67,108,864 bytes"):
        decode(data, limits=ImageLimits(max_pixels=1_000_000))


def test_tags_that_pixels_do_not_depend_on_are_never_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    """tifffile 2026.3.3 can take a minute to parse a vendor's tag of many values. This one has four."""
    parsers = {33_628: "a vendor's tag", 34_665: "Exif"}
    for tag, name in parsers.items():
        assert tag in tifffile.TIFF.TAG_READERS, "tifffile has no parser of this tag any more"
        monkeypatch.setitem(tifffile.TIFF.TAG_READERS, tag, lambda *_, name=name: pytest.fail(f"{name} was parsed"))
    assert decode(raw_tiff({tag: (4, [1, 2, 3, 4]) for tag in parsers})).shape == (8, 8, 1)


@pytest.mark.parametrize("tag", [258, 273, 279, 320, 338, 339, 530])
def test_a_tiff_tag_with_too_many_values_is_refused_unread(tag: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """tifffile makes a Python number of each value: a tag of millions of values takes gigabytes."""
    monkeypatch.setattr(tiff_directory, "_SEVERAL", dict.fromkeys(tiff_directory._SEVERAL, 9))
    with pytest.raises(TruncatedImage, match=rf"tag {tag} is not 1 to 9 integers"):
        decode(raw_tiff({tag: (4, [1] * 10)}))


def test_a_tiff_tag_whose_values_are_beyond_the_end_is_refused() -> None:
    data = raw_tiff({258: (3, [8, 8, 8]), 277: (3, [3])}, bytes(192))
    with pytest.raises(TruncatedImage, match="tag 258 stands beyond the end"):
        decode(data[:-1])


def test_a_tiff_of_too_many_tags_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiff_directory, "_MAX_TAGS", 8)
    with pytest.raises(TruncatedImage, match="9 tags, more than 8"):
        decode(raw_tiff())


@pytest.mark.parametrize("limit", ["_MAX_PAGES", "_MAX_ALL_TAGS"])
def test_a_tiff_of_too_many_pages_or_tags_of_all_pages_is_refused(limit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Directories may share their bytes, so a small file can have any number of pages."""
    data = tiff(np.stack([GREY] * 3), photometric="minisblack", metadata=None)
    monkeypatch.setattr(tiff_pages, limit, 2)
    with pytest.raises(MultiPageImage, match=r"a TIFF of more than [\d,]+ pages or [\d,]+ tags; send it in parts"):
        decode(data)


def test_pages_in_a_circle_are_refused() -> None:
    """Readers can follow such pages without end. The first four bytes are zero here: this is no TIFF for others."""
    data = bytearray(tiff(np.stack([GREY] * 3), photometric="minisblack", metadata=None))
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        second, last = file.pages[1].offset, file.pages[2].offset
    (count,) = struct.unpack_from("<H", data, last)
    struct.pack_into("<I", data, last + 2 + 12 * count, second)
    layout = tiff_directory.Layout.of(bytes(data))
    data[:4] = bytes(4)
    with pytest.raises(MultiPageImage, match="in a circle"):
        tiff_pages._walk(bytes(data), layout, "cells")


def test_metadata_of_a_tiff_that_is_too_long_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    """The parsers of metadata get no more than a limit. The pixels do not depend on it."""
    description = b"ImageJ=1.11a\nimages=2\nslices=2\n"
    data = raw_tiff({tiff_directory.DESCRIPTION: (2, description)}, bytes(128))
    assert isinstance(read_image(data), Stack)
    monkeypatch.setitem(tiff_directory._METADATA, tiff_directory.DESCRIPTION, len(description) - 1)
    assert decode(data).shape == (8, 8, 1)


JPEG_IN_TIFF = {259: (3, [7]), 256: (4, [64]), 257: (4, [64]), 278: (4, [64])}


@pytest.mark.parametrize("wrap", [bytes, lambda data: raw_tiff(JPEG_IN_TIFF, data)], ids=["jpeg", "tiff"])
def test_a_jpeg_of_too_many_scans_is_refused(wrap: Callable[[bytes], bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    """libjpeg visits the whole picture in each scan: a small file of many scans takes it hours."""
    progressive = saved(np.zeros((64, 64), np.uint8), "JPEG", progressive=True)
    assert progressive.count(b"\xff\xda") == 6
    monkeypatch.setattr(jpeg, "_MAX_SCANS", 6)
    assert decode(wrap(progressive)).shape == (64, 64, 1)
    monkeypatch.setattr(jpeg, "_MAX_SCANS", 5)
    with pytest.raises(NotAnImage, match="a JPEG of more than 5 scans; save it anew"):
        decode(wrap(progressive))


def test_scans_are_counted_behind_markers_without_a_segment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jpeg, "_MAX_SCANS", 5)
    data = saved(np.zeros((64, 64), np.uint8), "JPEG", progressive=True)
    first = data.index(b"\xff\xda", data.index(b"\xff\xda") + 2)
    with pytest.raises(NotAnImage, match="scans"):
        decode(data[:first] + b"\xff\x01\xff\xd0\xff\xff" + data[first:])


@pytest.mark.parametrize(
    ("limit", "filling", "excess"),
    [
        pytest.param("_MAX_SEGMENTS", segment(0xE5, b"") * 99, "99 segments", id="segments"),
        pytest.param("_MAX_PADDING", b"\xff" * 100, "99 bytes of padding", id="padding"),
    ],
)
def test_a_jpeg_with_a_huge_header_is_refused(
    limit: str, filling: bytes, excess: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pillow keeps each segment, and reads each byte of padding, in Python: a header of megabytes takes it minutes."""
    monkeypatch.setattr(jpeg, limit, 99)
    data = saved(SMOOTH, "JPEG")
    assert decode(data).shape == SMOOTH.shape
    with pytest.raises(NotAnImage, match=f"a JPEG of more than {excess}"):
        decode(data[:2] + filling + data[2:])


def test_a_jpeg_with_much_metadata_is_decoded() -> None:
    data = saved(SMOOTH, "JPEG")
    many = b"".join(segment(0xE2, b"ICC_PROFILE\0" + bytes([n, 255]) + bytes(9)) for n in range(1, 256))
    np.testing.assert_array_equal(decode(data[:2] + many + b"\xff" * 999 + data[2:]), decode(data))


@pytest.mark.parametrize(("kind", "limit"), [(b"prVt", "_MAX_OTHER_CHUNKS"), (b"IDAT", "_MAX_PIXEL_CHUNKS")])
def test_a_png_of_too_many_chunks_is_refused(kind: bytes, limit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow keeps most chunks, and reads all in Python: a file of nothing but empty ones takes it minutes."""
    monkeypatch.setattr(png_reader, limit, 9)
    data = saved(COLOUR, "PNG")
    assert decode(data[:33] + chunk(kind, b"") * 7 + data[33:]).shape == COLOUR.shape
    with pytest.raises(NotAnImage, match="a PNG of more than .* chunks of pixels or .* others; save it anew"):
        decode(data[:33] + chunk(kind, b"") * 9 + data[33:])


def test_a_numpy_header_longer_than_numpy_writes_raises_truncated_image() -> None:
    """numpy parses the header as Python, whose parser can run out of memory or stack on deep nesting in a long one."""
    padded = "{'descr': '|u1', 'fortran_order': False, 'shape': (1, 1)}".ljust(600)
    with pytest.raises(TruncatedImage, match="a NumPy header of 600 bytes, over 512"):
        decode(npy_text(padded, b"\0"))


@pytest.mark.parametrize("text", ["\0" * 500, "print(9)", "x" * 500])
def test_quoted_decoder_errors_are_short_and_without_addresses(text: str) -> None:
    with pytest.raises(TruncatedImage) as raised:
        decode(npy_text(text))
    assert len(str(raised.value)) < 300 and "0x" not in str(raised.value)


def test_the_error_for_a_strip_that_is_not_a_jpeg_has_no_addresses() -> None:
    with pytest.raises(TruncatedImage, match="^image: damaged: a strip or tile is no JPEG$"):
        decode(raw_tiff(JPEG_IN_TIFF, saved(GREY, "PNG")))


def test_the_limit_of_decoded_bytes_follows_the_limit_of_pixels() -> None:
    deep = tiff(np.zeros((10, 10, 16)), planarconfig=1)
    assert decode(deep, limits=ImageLimits(max_pixels=1100)).shape == (10, 10, 16)
    with pytest.raises(ImageTooLarge, match=r"12,800 bytes of pixels, over the limit of 1,200 bytes"):
        decode(deep, limits=ImageLimits(max_pixels=100))


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(npy(np.zeros((0, 5))), id="npy-no-rows"),
        pytest.param(npy(np.zeros((5, 0, 3))), id="npy-no-columns"),
        pytest.param(npy(np.zeros((5, 5, 0))), id="npy-no-channels"),
        pytest.param(npy_header("(0, 100000000000000000000000000)"), id="npy-no-rows-but-wide"),
        pytest.param(tiff_with(tiff(GREY), ImageWidth=0), id="tiff"),
    ],
)
def test_an_image_without_pixels_raises_empty_image(data: bytes) -> None:
    with pytest.raises(EmptyImage, match="^cells: "):
        decode(data, "cells")


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("write", [npy, tiff])
@pytest.mark.parametrize("kind", ["f2", "f4", "f8"])
def test_a_non_finite_image_is_refused_with_the_count_of_bad_values(
    write: Callable[[Array], bytes], kind: str, bad: float
) -> None:
    pixels = np.ones((300, 40), kind)
    pixels[:30] = bad
    with pytest.raises(NonFiniteImage, match=r"^cells: 1,200 values are NaN or infinite; "):
        decode(write(pixels), "cells")


def test_numbers_beyond_a_double_are_infinite() -> None:
    if np.finfo(np.longdouble).max <= np.finfo(np.float64).max:
        pytest.skip("long double is a double here")
    with pytest.raises(NonFiniteImage):
        decode(npy(np.full((2, 2), np.longdouble("1e400"))))


def test_bytes_that_are_not_a_valid_long_double_are_refused_without_a_warning() -> None:
    with pytest.raises(NonFiniteImage):
        decode(npy_header("(1, 1)", np.dtype(np.longdouble).str, b"a" * np.dtype(np.longdouble).itemsize))


# Random and damaged files


@settings(deadline=None, max_examples=300)
@given(
    st.sampled_from(
        [
            b"",
            b"BM",
            b"II*\0\x08\0\0\0",
            b"MM\0*",
            b"II+\0\x08\0\0\0",
            b"\x93NUMPY\x01\0",
            b"\x89PNG\r\n\x1a\n",
            b"\xff\xd8\xff\xe0",
            b"RIFF\x20\0\0\0WEBPVP8X",
        ]
    ),
    st.binary(max_size=200),
)
def test_any_bytes_decode_to_pixels_or_raise_a_typed_error(start: bytes, rest: bytes) -> None:
    assert_pixels_or_typed_error(start + rest)


#: What a mutation writes: values that break lengths, offsets and sizes, or random bytes.
PATCHES = st.one_of(
    st.sampled_from([0, 1, 8, 255, 65_535, 65_536, 99_999, 2**31 - 1, 2**31, 2**32 - 1]).flatmap(
        lambda value: st.sampled_from(
            [struct.pack("<I", value), struct.pack(">I", value), struct.pack("<H", value % 65_536)]
        )
    ),
    st.binary(min_size=1, max_size=4),
)


@settings(deadline=None, max_examples=1_000)
@given(
    st.sampled_from([*FILES.values(), *OVERSTATED.values()]),
    st.lists(st.tuples(st.integers(0, 2_000), PATCHES), min_size=1, max_size=6),
    st.integers(0, 2_000) | st.none(),
)
def test_a_damaged_file_decodes_to_pixels_or_raises_a_typed_error(
    data: bytes, patches: list[tuple[int, bytes]], end: int | None
) -> None:
    changed = bytearray(data)
    for offset, patch in patches:
        offset %= len(data)
        changed[offset : offset + len(patch)] = patch
    assert_pixels_or_typed_error(bytes(changed[:end]))


def assert_pixels_or_typed_error(data: bytes) -> None:
    with memory_for(megabytes=160):
        try:
            pixels = decode(data, "cells", MEGAPIXEL)
        except ImageError as error:
            assert str(error).startswith("cells: ") and "memory" not in str(error)
        else:
            assert pixels.ndim == 3 and pixels.size > 0 and pixels.dtype.kind in "buif" and np.isfinite(pixels).all()
