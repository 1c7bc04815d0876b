"""What a backend holds in its hands becomes an image file's bytes, or an error that says what to submit instead."""

from __future__ import annotations

import io
import sys
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps

from maskq import InvalidJob, Options, QueueFull, Result
from maskq.producer.client.sources import read_source
from maskq.producer.errors import PayloadTooLarge
from maskq.segmentation.images import decode, read_image
from maskq.segmentation.images.image import ChannelKind
from maskq.testing import FakeClient
from tests.image_files import orientation_exif, saved

Array = NDArray[Any]
RANDOM = np.random.default_rng(0)
GREY: Array = RANDOM.integers(0, 256, (13, 17), np.uint8)
COLOUR: Array = RANDOM.integers(0, 256, (13, 17, 3), np.uint8)
FILE = saved(GREY, "PNG")
LIMIT = 100_000


def read(source: Any, name: str | None = None, **options: Any) -> tuple[bytes, str]:
    return read_source(source, name, LIMIT, Options(**options))


def pixels(source: Any, **options: Any) -> Array:
    return decode(read(source, **options)[0])


# Files


@pytest.mark.parametrize(
    "source",
    [
        FILE,
        bytearray(FILE),
        memoryview(FILE),
        memoryview(FILE + bytes(9))[: len(FILE)],
        io.BytesIO(FILE),
        io.BufferedReader(io.BytesIO(FILE)),
    ],
    ids=["bytes", "bytearray", "memoryview", "slice", "BytesIO", "buffered"],
)
def test_bytes_and_open_files_are_the_file(source: Any) -> None:
    assert read(source) == (FILE, "image")


def test_an_upload_is_read_while_another_thread_imports_pillow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL.Image", ModuleType("PIL.Image"))
    assert read(io.BytesIO(FILE))[0] == FILE


def test_an_open_file_gives_its_name_and_is_read_again_by_a_retry(tmp_path: Path) -> None:
    path = tmp_path / "cells.png"
    path.write_bytes(b"head" + FILE)
    with path.open("rb") as file:
        file.seek(4)
        assert read(file) == read(file) == (FILE, "cells.png")
        assert read(file, "other.png") == (FILE, "other.png")


def test_an_upload_gives_the_name_of_its_file_and_not_of_the_forms_field() -> None:
    class Upload(io.BytesIO):
        filename, name = "folder/cells.png", "file"

    assert read(Upload(FILE)) == (FILE, "cells.png")


def test_a_spooled_file_and_one_without_positions_are_read() -> None:
    with tempfile.SpooledTemporaryFile() as spooled:
        spooled.write(FILE)
        spooled.seek(0)
        assert read(spooled) == (FILE, "image")

    class Stream(io.RawIOBase):
        """Gives a few bytes at a time, as a socket does."""

        rest = FILE

        def readable(self) -> bool:
            return True

        def readinto(self, buffer: Any) -> int:
            part, self.rest = self.rest[:7], self.rest[7:]
            buffer[: len(part)] = part
            return len(part)

    assert read(Stream()) == (FILE, "image")


class Asynchronous:
    async def read(self) -> bytes:
        return FILE


def at_its_end() -> io.BytesIO:
    file = io.BytesIO(FILE)
    file.read()
    return file


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (io.StringIO("text"), r"binary mode \(rb\)"),
        (Asynchronous(), "asynchronous"),
        (at_its_end(), r"file\.seek\(0\)"),
        (None, "array: None is no image"),
        (3, "an int is no image"),
        ({}, "a dict is no image"),
        ([[1, 2], [3, 4]], r"numpy\.asarray"),
        (("a.png", "b.png"), r"Client\.map takes several"),
    ],
    ids=["text", "async", "end", "none", "int", "dict", "list", "tuple"],
)
def test_what_is_no_image_is_refused_with_what_to_submit(source: Any, message: str) -> None:
    with pytest.raises(InvalidJob, match=message):
        read(source)


@pytest.mark.parametrize("source", [bytes(LIMIT + 1), io.BytesIO(bytes(LIMIT + 1)), np.zeros((400, 400), np.uint8)])
def test_more_than_the_limit_is_refused(source: Any) -> None:
    with pytest.raises(PayloadTooLarge, match=r"over the limit of 100,000"):
        read(source)


# Arrays


@pytest.mark.parametrize(
    "source",
    [
        GREY,
        GREY[::-1, ::-1].copy()[::-1, ::-1],
        np.asfortranarray(GREY),
        GREY.data,
        torch.from_numpy(GREY),
        GREY.view(np.ma.MaskedArray),
    ],
    ids=["array", "strides", "fortran", "memoryview", "torch", "nothing-masked"],
)
def test_arrays_of_any_library_and_strides_are_their_pixels(source: Any) -> None:
    np.testing.assert_array_equal(pixels(source)[..., 0], GREY)
    assert read(source)[1] == "array"


def test_named_axes_go_with_the_array() -> None:
    channels_first = torch.from_numpy(COLOUR).permute(2, 0, 1)
    with pytest.raises(InvalidJob, match=r"array: an array of shape \(3, 13, 17\) can be read in several ways"):
        read(channels_first)
    data, _ = read(channels_first, axes="CYX")
    assert data.startswith(b"\x93NUMPY")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (GREY.astype(complex), r"numpy\.abs"),
        (GREY.astype(object), r"numpy\.stack"),
        (GREY.astype(str), "array of <U3 is no image"),
        (np.zeros((9, 9), "M8[s]"), "is no image"),
        (np.zeros((9, 9), [("a", "u1")]), "is no image"),
        (np.uint8(3), r"shape \(\) is no image"),
        (np.frombuffer(FILE, np.uint8), r"array\.tobytes\(\)"),
        (np.zeros((0, 9)), "0 pixels"),
        (np.ma.masked_less(GREY, 9), r"array\.filled\(0\)"),
        (torch.zeros(9, 9, requires_grad=True), r"tensor\.detach\(\)\.cpu\(\)"),
        (torch.zeros(9, 9, dtype=torch.bfloat16), r"\.float\(\)"),
        (torch.zeros(9, 9, device="meta"), "can't be made a NumPy array"),
    ],
    ids="complex,objects,text,dates,records,scalar,1-d,empty,masked,gradient,bfloat16,meta".split(","),  # noqa: SIM905
)
def test_arrays_that_are_no_image_are_refused_before_they_are_sent(source: Any, message: str) -> None:
    with pytest.raises(InvalidJob, match=message):
        read(source)


# Pillow


def palette(**options: Any) -> Image.Image:
    return Image.fromarray(COLOUR).quantize(16, **options)


def with_transparency() -> Image.Image:
    image = palette()
    image.info["transparency"] = bytes(range(16))
    return image


PICTURES = {
    "1": (Image.fromarray(GREY > 99), GREY > 99),
    "L": (Image.fromarray(GREY), GREY),
    "LA": (Image.fromarray(COLOUR[..., :2].copy()), COLOUR[..., 0]),
    "P": (palette(), np.asarray(palette().convert("RGB"))),
    "P with transparency": (with_transparency(), np.asarray(palette().convert("RGB"))),
    "PA": (palette().convert("PA"), np.asarray(palette().convert("RGB"))),
    "RGB": (Image.fromarray(COLOUR), COLOUR),
    "RGBA": (Image.fromarray(np.dstack([COLOUR, GREY])), COLOUR),
    "RGBX": (Image.fromarray(COLOUR).convert("RGBX"), COLOUR),
    "RGBa": (Image.fromarray(COLOUR).convert("RGBA").convert("RGBa"), COLOUR),
    "La": (Image.fromarray(GREY).convert("LA").convert("La"), GREY),
    "I": (Image.fromarray(GREY.astype(np.int32) * 70_000), GREY.astype(np.int32) * 70_000),
    "I;16": (Image.fromarray(GREY.astype(np.uint16) * 257), GREY.astype(np.uint16) * 257),
    "I;16B": (Image.frombytes("I;16B", (17, 13), GREY.astype(">u2").tobytes()), GREY.astype(np.uint16)),
    "F": (Image.fromarray(GREY.astype(np.float32) - 50), GREY.astype(np.float32) - 50),
    "three rows": (Image.fromarray(COLOUR[:3]), COLOUR[:3]),
}


@pytest.mark.parametrize(("picture", "expected"), PICTURES.values(), ids=PICTURES)
def test_a_picture_is_its_intensities_without_alpha(picture: Image.Image, expected: Array) -> None:
    before = picture.mode, dict(picture.info)
    image = read_image(read(picture)[0])
    assert getattr(image, "kind", None) is (ChannelKind.RGB if expected.ndim == 3 else ChannelKind.GREY)
    np.testing.assert_array_equal(pixels(picture), expected.reshape(*expected.shape[:2], -1))
    assert (picture.mode, picture.info) == before


@pytest.mark.parametrize("mode", ["CMYK", "YCbCr", "HSV", "LAB"])
def test_a_picture_in_another_colour_space_becomes_rgb(mode: str) -> None:
    smooth = np.add.outer(np.arange(13) * 9, np.arange(17) * 5)[..., None] // np.array([1, 2, 3])
    picture = Image.fromarray(smooth.astype(np.uint8))
    if mode == "LAB":
        from PIL import ImageCms

        profiles = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
        other = ImageCms.profileToProfile(picture, *profiles, outputMode="LAB")
        assert other is not None
    else:
        other = picture.convert(mode)
    np.testing.assert_array_equal(pixels(other), np.asarray(other.convert("RGB")))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_is_upright_as_a_file_of_it_would_be(kind: str, orientation: int) -> None:
    picture = Image.open(io.BytesIO(saved(GREY, kind, exif=orientation_exif(orientation))))
    np.testing.assert_array_equal(pixels(picture)[..., 0], np.asarray(ImageOps.exif_transpose(picture)))


def test_a_pictures_metadata_does_not_go_into_the_file() -> None:
    description = "ImageJ=1.11a\nimages=30\nslices=30\n"
    picture = Image.open(io.BytesIO(saved(GREY, "TIFF", tiffinfo={270: description})))
    assert b"ImageJ" not in read(picture)[0]
    np.testing.assert_array_equal(pixels(picture)[..., 0], GREY)


def test_of_several_frames_one_has_to_be_chosen() -> None:
    frames = [Image.fromarray(GREY), Image.fromarray(GREY[::-1].copy())]
    stack = Image.open(io.BytesIO(saved(frames[0], "TIFF", save_all=True, append_images=frames[1:])))
    with pytest.raises(InvalidJob, match="2 frames.*copy"):
        read(stack)
    stack.seek(1)
    np.testing.assert_array_equal(pixels(stack)[..., 0], GREY[::-1])
    stack.seek(0)
    np.testing.assert_array_equal(pixels(stack.copy())[..., 0], GREY)


def test_the_first_picture_of_a_cameras_file_is_taken() -> None:
    data = saved(Image.fromarray(COLOUR), "MPO", save_all=True, append_images=[Image.fromarray(COLOUR[::-1].copy())])
    picture = Image.open(io.BytesIO(data))
    np.testing.assert_array_equal(pixels(picture), np.asarray(picture))


def test_a_picture_whose_file_is_cut_short_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "cells.png"
    path.write_bytes(saved(RANDOM.integers(0, 256, (99, 99), np.uint8), "PNG")[:3000])
    with Image.open(path) as picture, pytest.raises(InvalidJob, match=r"cells\.png: Pillow can't read it"):
        read(picture)


# The client


def test_a_client_submits_all_of_them_and_refuses_before_it_sends() -> None:
    with FakeClient() as client:
        for source in (io.BytesIO(FILE), bytearray(FILE), Image.fromarray(GREY), torch.from_numpy(GREY)):
            assert client.submit(source, reuse=False).wait().size == (13, 17)
        planes = client.submit(np.zeros((5, 13, 17)), options=Options(axes="CYX", channels=2))
        assert planes.wait().size == (13, 17)
        before = len(client.jobs)
        for wrong in (np.zeros((5, 13, 17)), np.zeros((13, 17), complex), io.BytesIO(), None):
            with pytest.raises(InvalidJob):
                client.submit(wrong)  # type: ignore[arg-type]
        assert len(client.jobs) == before


class Labelled:
    """An array that names its axes, as xarray's do."""

    def __init__(self, array: Array, *dims: str) -> None:
        self._array, self.dims = array, dims

    def __array__(self, *_: Any, **__: Any) -> Array:
        return self._array


def test_an_array_that_names_its_axes_needs_no_option() -> None:
    with FakeClient() as client:
        job = client.submit(Labelled(np.zeros((2, 13, 17)), "c", "y", "x"), options=Options(channels=1))
        assert job.status().spec.options == Options(channels=1, axes="CYX")
        assert job.wait().size == (13, 17)
        other = client.submit(Labelled(np.zeros((2, 13, 17)), "C", "Y", "X"), options=Options(axes="ZYX", planes="1"))
        assert other.status().spec.options.axes == "ZYX"
        with pytest.raises(InvalidJob, match="several ways"):
            client.submit(Labelled(np.zeros((2, 13, 17)), "band", "y", "x"))


def test_a_queue_that_is_full_for_a_moment_does_not_lose_an_open_file(monkeypatch: pytest.MonkeyPatch) -> None:
    with FakeClient() as client:
        create, attempts = client._create, []

        def full_at_first(*arguments: Any) -> str:
            attempts.append(arguments)
            if len(attempts) == 1:
                raise QueueFull("try again")
            return create(*arguments)

        monkeypatch.setattr(client, "_create", full_at_first)
        (result,) = client.map([io.BytesIO(FILE)], errors="return")
        assert isinstance(result, Result) and result.size == (13, 17)
        assert len(attempts) == 2


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_picture_of_a_white_is_zero_tiff_is_never_a_negative(dtype: Any) -> None:
    stream, pixels = io.BytesIO(), np.arange(30, dtype=dtype).reshape(5, 6)
    tifffile.imwrite(stream, pixels, photometric="miniswhite", metadata=None)
    picture = Image.open(stream)
    if dtype == np.uint8:
        np.testing.assert_array_equal(decode(read_source(picture, None, 10_000)[0])[..., 0], 255 - pixels)
    else:
        with pytest.raises(InvalidJob, match="WhiteIsZero TIFF, which Pillow opens as its negative"):
            read_source(picture, None, 10_000)


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_a_picture_of_a_turned_tiff_is_never_mixed_up(tmp_path: Path, compression: str | None) -> None:
    pixels = np.arange(48, dtype=np.uint8).reshape(6, 8)
    tags = [(274, 3, 1, 6, True)]
    tifffile.imwrite(tmp_path / "a.tif", pixels, metadata=None, compression=compression, extratags=tags)
    with Image.open(tmp_path / "a.tif") as picture:
        if compression:
            turned = decode(read_source(picture, None, 10_000)[0])[..., 0]
            np.testing.assert_array_equal(turned, np.rot90(pixels, -1))
        else:
            with pytest.raises(InvalidJob, match="submit the file itself"):
                read_source(picture, None, 10_000)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint16", "int32", "float32"])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_a_picture_of_a_tiff_has_the_files_values_or_is_refused(dtype: str, order: Any, compression: Any) -> None:
    stream, values = io.BytesIO(), (np.arange(30).reshape(5, 6) - (7 if dtype[0] == "i" else 0)).astype(dtype)
    tifffile.imwrite(stream, values, metadata=None, byteorder=order, compression=compression)
    picture = Image.open(stream)
    twice_swapped = order == ">" and compression is not None and dtype in ("int16", "int32", "float32")
    if dtype == "int8" or twice_swapped:
        with pytest.raises(InvalidJob, match="which Pillow takes for unsigned|whose values Pillow mixes up"):
            read_source(picture, None, 10_000)
    else:
        np.testing.assert_array_equal(decode(read_source(picture, None, 10_000)[0])[..., 0], values)
