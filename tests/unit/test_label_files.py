"""Label files are read as stored, or refused with what to do: a wrong number of objects would show nowhere else."""

from __future__ import annotations

import struct
import zlib
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

from maskq.segmentation.errors import ImageTooLarge, InvalidDataset, NotAnImage, TruncatedImage
from maskq.segmentation.images import ImageLimits
from maskq.segmentation.images.stored import read_stored
from maskq.segmentation.label_files import read_labels

Array = NDArray[Any]

#: Three objects, of numbers that leave gaps.
LABELS = np.zeros((12, 20), np.uint8)
LABELS[1:4, 1:5], LABELS[6:9, 2:8], LABELS[5:11, 12:19] = 1, 3, 12
COLOURS = np.array([(0, 0, 0), *((37 * n % 256, 91 * n % 256, 255 - n) for n in range(1, 256))], np.uint8)


def check(path: Path, expected: Array = LABELS) -> None:
    labels = read_labels(path)
    assert labels.dtype == np.int32
    np.testing.assert_array_equal(labels, expected)


def packed_png(labels: Array, bits: int) -> bytes:
    """A grey PNG of 1, 2 or 4 bits, which Pillow does not write."""
    flat = np.unpackbits(labels[..., None].astype(np.uint8), axis=2)[..., -bits:].reshape(len(labels), -1)
    rows = b"".join(b"\0" + np.packbits(row).tobytes() for row in flat)
    header = struct.pack(">IIBBBBB", labels.shape[1], labels.shape[0], bits, 0, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    chunks = (
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in parts
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def with_palette(labels: Array, colours: Array = COLOURS) -> Image.Image:
    image = Image.fromarray(labels.astype(np.uint8), "L")
    image.putpalette(colours.tobytes())
    return image


# Numbers


@pytest.mark.parametrize(
    "kind", ["u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f2", "f4", "f8", ">u2", ">i4", ">f4"]
)
@pytest.mark.parametrize("suffix", [".npy", ".tif"])
def test_numbers_of_every_type_and_byte_order_are_read(tmp_path: Path, kind: str, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    values = LABELS.astype(kind)
    if suffix == ".npy":
        np.save(path, values)
    else:
        tifffile.imwrite(path, values, byteorder=">" if kind[0] == ">" else "<")
    check(path)


@given(arrays(np.uint32, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.integers(0, 2**24)))
def test_whole_numbers_in_floats_keep_their_value(tmp_path_factory: pytest.TempPathFactory, labels: Array) -> None:
    path = tmp_path_factory.getbasetemp() / "floats.tif"
    tifffile.imwrite(path, labels.astype(np.float32), photometric="minisblack")
    check(path, labels)


@pytest.mark.parametrize(
    ("values", "why"),
    [
        (LABELS / 12, "values are no whole numbers, such as"),
        (np.full((4, 4), 2.0**24 + 2, np.float32), "labels up to 16777218 as float32, exact only to 16,777,216"),
        (np.full((4, 4), 4096, np.float16), "labels up to 4096 as float16, exact only to 2,048"),
        (np.full((4, 4), -1, np.int16), r"labels from -1 to -1, .*background: maskq labels .* --background=-1 --out"),
        (np.full((4, 4), -1.0), "labels from -1 to -1"),
        (np.full((4, 4), 2**31, np.uint32), "labels from 2147483648 .* number the objects anew: maskq labels"),
        (np.full((4, 4), 2**63, np.uint64), "labels from 9223372036854775808"),
    ],
    ids=["fractions", "rounded", "rounded-half", "negative", "negative-floats", "huge", "64-bit"],
)
def test_numbers_that_are_no_labels_are_refused_with_what_to_do(tmp_path: Path, values: Array, why: str) -> None:
    tifffile.imwrite(tmp_path / "a.tif", values)
    with pytest.raises(InvalidDataset, match=rf"a\.tif: .*{why}"):
        read_labels(tmp_path / "a.tif")


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_grey_pngs_of_few_bits_are_not_spread_over_all_8(tmp_path: Path, bits: int) -> None:
    labels = LABELS % 2**bits
    (tmp_path / "a.png").write_bytes(packed_png(labels, bits))
    check(tmp_path / "a.png", labels)


def test_one_bit_files_are_0_and_1(tmp_path: Path) -> None:
    mask = LABELS > 0
    for name in ("a.png", "a.bmp", "a.tif"):
        Image.fromarray(mask).save(tmp_path / name)
        check(tmp_path / name, mask)


# Palettes


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif"])
def test_a_palette_gives_its_indices(tmp_path: Path, suffix: str) -> None:
    with_palette(LABELS).save(tmp_path / f"a{suffix}")
    check(tmp_path / f"a{suffix}")


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_palettes_of_few_bits_give_their_indices(tmp_path: Path, bits: int) -> None:
    labels = LABELS % 2**bits
    with_palette(labels, COLOURS[: 2**bits]).save(tmp_path / "a.png", bits=bits)
    check(tmp_path / "a.png", labels)


def test_a_palette_whose_black_is_not_number_0_is_refused(tmp_path: Path) -> None:
    colours = COLOURS.copy()
    colours[[0, 12]] = colours[[12, 0]]
    with_palette(LABELS, colours).save(tmp_path / "a.png")
    with pytest.raises(InvalidDataset, match=r"number 12 of its palette is black.*--background 12"):
        read_labels(tmp_path / "a.png")


# TIFF


def test_white_is_zero_changes_no_number(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "numbers.tif", LABELS, photometric="miniswhite")
    tifffile.imwrite(tmp_path / "big.tif", LABELS, photometric="miniswhite", bigtiff=True, byteorder=">")
    tifffile.imwrite(tmp_path / "mask.tif", LABELS > 0)  # tifffile writes bool as WhiteIsZero
    check(tmp_path / "numbers.tif")
    check(tmp_path / "big.tif")
    check(tmp_path / "mask.tif", LABELS > 0)


@pytest.mark.parametrize("compression", ["lzw", "zlib", "zstd", "packbits", "lzma"])
@pytest.mark.parametrize("tile", [None, (16, 16)])
def test_lossless_compressions_are_read(tmp_path: Path, compression: str, tile: tuple[int, int] | None) -> None:
    tifffile.imwrite(tmp_path / "a.tif", LABELS.astype(np.uint16), compression=compression, tile=tile)
    check(tmp_path / "a.tif")


def test_imagej_and_ome_files_of_one_plane_are_read(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", LABELS.astype(np.float32), imagej=True, metadata={"axes": "YX"})
    tifffile.imwrite(tmp_path / "b.ome.tif", LABELS.astype(np.uint32), ome=True, metadata={"axes": "YX"})
    check(tmp_path / "a.tif")
    check(tmp_path / "b.ome.tif")


def test_a_stack_is_refused(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.stack([LABELS] * 3), photometric="minisblack")
    with pytest.raises(InvalidDataset, match=r"a\.tif: a stack of Q=3; save the labels of each plane"):
        read_labels(tmp_path / "a.tif")


@pytest.mark.parametrize("shape", [(1, 12, 20), (3, 12, 20), (2, 3, 12, 20)])
def test_arrays_of_other_axes_are_refused(tmp_path: Path, shape: tuple[int, ...]) -> None:
    np.save(tmp_path / "a.npy", np.zeros(shape, np.uint8))
    with pytest.raises(InvalidDataset, match=r"a\.npy: not a NumPy array \(H, W\) of numbers; save the labels of each"):
        read_labels(tmp_path / "a.npy")


# Colours and lossy files


def test_grey_stored_as_equal_channels_is_one_channel(tmp_path: Path) -> None:
    rgb = np.repeat(LABELS[..., None], 3, axis=2)
    Image.fromarray(rgb).save(tmp_path / "a.png")
    Image.fromarray(np.dstack([rgb, np.full(LABELS.shape, 255, np.uint8)])).save(tmp_path / "b.png")
    tifffile.imwrite(tmp_path / "c.tif", rgb.astype(np.uint16), photometric="rgb")
    Image.fromarray(rgb).save(tmp_path / "d.bmp")
    for path in tmp_path.iterdir():
        check(path)


def test_a_colour_for_each_object_is_refused_with_the_command_that_converts(tmp_path: Path) -> None:
    Image.fromarray(COLOURS[LABELS]).save(tmp_path / "a.png")
    with pytest.raises(InvalidDataset, match=rf"3 channels of uint8, .* maskq labels {tmp_path} --out"):
        read_labels(tmp_path / "a.png")


def test_partly_transparent_labels_are_refused(tmp_path: Path) -> None:
    Image.fromarray(np.dstack([*[LABELS] * 3, 9 * LABELS])).save(tmp_path / "a.png")
    with pytest.raises(InvalidDataset, match="4 channels"):
        read_labels(tmp_path / "a.png")


def test_jpeg_and_other_formats_that_change_numbers_are_refused(tmp_path: Path) -> None:
    for name in ("a.jpg", "a.webp"):
        Image.fromarray(LABELS).save(tmp_path / name)
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((64, 64), np.uint8), compression="jpeg")
    for name, why in (
        ("a.jpg", r"lossy.*PNG or TIFF"),
        ("a.webp", "not a PNG, TIFF, BMP or NumPy file"),
        ("a.tif", "lossy"),
    ):
        with pytest.raises(NotAnImage, match=why):
            read_labels(tmp_path / name)


# Guards


def test_the_limits_of_images_apply_to_packed_files_too() -> None:
    data = packed_png(LABELS % 4, 2)
    with pytest.raises(ImageTooLarge, match="over the limit of 100 pixels"):
        read_stored(data, "a.png", ImageLimits(max_pixels=100))
    with pytest.raises(ImageTooLarge, match="over the limit of 20 bytes"):
        read_stored(data, "a.png", ImageLimits(max_bytes=20))


def test_damaged_files_are_named(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", LABELS, photometric="palette", colormap=np.zeros((3, 256), np.uint16))
    whole = {"a.png": packed_png(LABELS % 4, 2), "a.tif": (tmp_path / "a.tif").read_bytes()}
    for name, data in whole.items():
        (tmp_path / name).write_bytes(data[:50])
        with pytest.raises(TruncatedImage, match=name):
            read_labels(tmp_path / name)


@pytest.mark.parametrize(
    "shown", [{"photometric": "miniswhite"}, {"photometric": "palette", "colormap": np.full((3, 256), 7, np.uint16)}]
)
def test_numbers_behind_a_thumbnail_are_as_stored(tmp_path: Path, shown: dict[str, Any]) -> None:
    labels = np.zeros((12, 16), np.uint8)
    labels[2:5, 2:5], labels[6:9, 6:9] = 1, 2
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(labels[::4, ::4], subfiletype=1, metadata=None, **shown)
        file.write(labels, metadata=None, **shown)
    np.testing.assert_array_equal(read_labels(tmp_path / "a.tif"), labels)
