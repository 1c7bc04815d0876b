"""A file of one image and copies, masks or thumbnails of it is that image."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
import tifffile
from PIL import Image as PillowImage

from maskq.segmentation.errors import MultiPageImage, NotAnImage, TruncatedImage
from maskq.segmentation.images import View
from tests.image_files import raw_tiff, saved, tiff, tiff_with

from .files import grey, image, pages, stack, written

FULL = grey(64, 48)
HALF, THUMBNAIL, COLOUR_THUMBNAIL = FULL[::2, ::2], FULL[::4, ::4], grey(16, 12, 3)
REDUCED, MASK = {"subfiletype": 1}, {"subfiletype": 4, "photometric": "mask"}


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(pages([(FULL, {}), (HALF, REDUCED), (THUMBNAIL, REDUCED)]), id="pyramid-as-pages"),
        pytest.param(pages([(FULL, {"subifds": 2}), (HALF, REDUCED), (THUMBNAIL, REDUCED)]), id="pyramid-below"),
        pytest.param(pages([(FULL, {}), (FULL > 99, MASK)]), id="internal-mask"),
        pytest.param(
            pages([(FULL, {}), (FULL > 99, MASK), (HALF, REDUCED), (HALF > 9, {"subfiletype": 5})]), id="gdal"
        ),
        pytest.param(pages([(THUMBNAIL, REDUCED), (FULL, {})]), id="thumbnail-first"),
        pytest.param(pages([(COLOUR_THUMBNAIL, REDUCED | {"photometric": "rgb"}), (FULL, {})]), id="colour-thumbnail"),
        pytest.param(pages([(THUMBNAIL, REDUCED | {"subifds": 1}), (FULL, {})]), id="image-below-a-thumbnail"),
        pytest.param(pages([(FULL, {}), (THUMBNAIL, {"extratags": [(255, 3, 1, 2, True)]})]), id="older-tag-255"),
        pytest.param(pages([(FULL, REDUCED)]), id="only-page-called-reduced"),
        pytest.param(pages([(FULL, REDUCED), (HALF, REDUCED)]), id="all-pages-called-reduced"),
        pytest.param(pages([(FULL, {"metadata": {}}), (HALF, REDUCED | {"metadata": {}})]), id="with-json"),
        pytest.param(pages([(FULL, {"subifds": 1}), (HALF, REDUCED)], ome=True), id="ome"),
    ],
)
def test_the_full_image_is_read(data: bytes) -> None:
    np.testing.assert_array_equal(image(data).pixels[..., 0], FULL)


def test_a_mask_alone_is_an_image() -> None:
    np.testing.assert_array_equal(image(pages([(FULL > 99, MASK)])).pixels[..., 0], FULL > 99)


def test_pages_of_other_sizes_without_a_mark_are_refused_with_their_sizes_and_the_option() -> None:
    data = pages([(FULL, {}), (grey(20, 30), {}), (grey(3, 10, 10), {})])
    with pytest.raises(MultiPageImage, match=r"3 images .*1 \(64×48\), 2 \(20×30\), 3 \(10×10, I=3\); .* option scene"):
        image(data)
    assert image(data, View(scene=2)).pixels.shape == (20, 30, 1)
    assert stack(data, View(scene=3)).count == 3


def test_half_the_size_is_no_proof_of_a_copy() -> None:
    with pytest.raises(MultiPageImage, match="2 images that do not belong together"):
        image(pages([(FULL, {}), (grey(32, 24), {})]))


def test_unmarked_tiled_pages_each_half_of_the_last_are_a_pyramid() -> None:
    full = grey(65, 48)
    tiles = {"tile": (16, 16)}
    data = pages([(full, tiles), (full[::2, ::2], tiles), (full[::4, ::4], tiles)])
    np.testing.assert_array_equal(image(data).pixels[..., 0], full)
    np.testing.assert_array_equal(image(data, View(level=2)).pixels[..., 0], full[::4, ::4])


def with_next(data: bytes, offset: int) -> bytes:
    """The classic little-endian file, whose last page announces another at `offset`."""
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        last = file.pages[-1].offset
    changed = bytearray(data)
    (count,) = struct.unpack_from("<H", data, last)
    struct.pack_into("<I", changed, last + 2 + 12 * count, offset)
    return bytes(changed)


@pytest.mark.parametrize("offset", [10, 1 << 30])
def test_a_next_page_that_is_not_there_is_a_note(offset: int) -> None:
    found = image(with_next(written(FULL), offset))
    np.testing.assert_array_equal(found.pixels[..., 0], FULL)
    assert found.notes == ("The TIFF announces another page, which is not there; its only page was read.",)


def test_a_stack_whose_next_page_is_not_there_is_cut_short() -> None:
    with pytest.raises(TruncatedImage, match="cut short: its page 4 is damaged or beyond the end"):
        stack(with_next(written(grey(3, 9, 9), metadata=None), 1 << 30))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_orientation_tag_turns_nothing_and_is_a_note(orientation: int) -> None:
    # As tifffile, ImageJ, napari and CellProfiler show it; Pillow's `exif_transpose` and libvips' autorot turn it.
    found = image(saved(FULL, "TIFF", tiffinfo={0x112: orientation}))
    np.testing.assert_array_equal(found.pixels[..., 0], FULL)
    assert bool(found.notes) == (orientation != 1)
    assert all(f"orientation tag says {orientation}" in note for note in found.notes)


def sparse(data: bytes, missing: int) -> bytes:
    """The file without its strip or tile `missing`, as GDAL leaves out those that are empty."""
    changed = bytearray(data)
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        for tag in (273, 279, 324, 325):
            if (found := file.pages.first.tags.get(tag)) is not None:
                kind = {3: "H", 4: "I"}[found.dtype]
                struct.pack_into("<" + kind, changed, found.valueoffset + struct.calcsize(kind) * missing, 0)
    return bytes(changed)


@pytest.mark.parametrize("compression", [None, "deflate", "jpeg"])
@pytest.mark.parametrize("layout", [{"tile": (16, 16)}, {"rowsperstrip": 16}])
def test_strips_and_tiles_that_are_not_stored_are_zeros(layout: dict[str, object], compression: str | None) -> None:
    data = written(FULL, compression=compression, **layout)
    expected = image(data).pixels.copy()
    expected[16:32, slice(16, 32) if "tile" in layout else slice(None)] = 0
    found = image(sparse(data, 4 if "tile" in layout else 1))
    np.testing.assert_array_equal(found.pixels, expected)
    assert found.notes == ("Strips or tiles that the TIFF does not store were taken as zeros.",)


@pytest.mark.parametrize("dtype", ["u1", "u2", "i2"])
@pytest.mark.parametrize("layout", [{"tile": (16, 16)}, {"rowsperstrip": 16}])
def test_what_is_not_stored_is_dark_if_white_is_zero_too(layout: dict[str, object], dtype: str) -> None:
    data = written(FULL.astype(dtype), photometric="miniswhite", compression="deflate", **layout)
    expected = image(data).pixels.copy()
    expected[16:32, slice(16, 32) if "tile" in layout else slice(None)] = 0
    np.testing.assert_array_equal(image(sparse(data, 4 if "tile" in layout else 1)).pixels, expected)


def test_a_tiff_without_any_pixels_is_cut_short() -> None:
    with pytest.raises(TruncatedImage, match="cut short"):
        image(tiff_with(written(FULL, compression="deflate"), StripByteCounts=0))


@pytest.mark.parametrize(
    ("data", "what"),
    [
        pytest.param(raw_tiff({262: (3, [32803])}), "a camera's raw file", id="cfa"),
        pytest.param(raw_tiff({50706: (1, [1, 4, 0, 0])}), "a camera's raw file", id="dng"),
        pytest.param(b"II*\0\x10\0\0\0CR\x02\0" + raw_tiff()[12:], "a camera's raw file", id="canon"),
        pytest.param(raw_tiff({259: (3, [6])}), r"an image of compression 6 \(old-style JPEG\)", id="old-jpeg"),
        pytest.param(raw_tiff({259: (3, [34661])}), r"compression 34661 \(JBIG\)", id="jbig"),
        pytest.param(raw_tiff({262: (3, [8]), 277: (3, [3])}, bytes(192)), r"CIE L\*a\*b\*", id="lab"),
        pytest.param(raw_tiff({262: (3, [6]), 277: (3, [3])}, bytes(192)), "YCbCr", id="ycbcr"),
        pytest.param(tiff(np.ones((4, 4), "c8")), "complex numbers", id="complex"),
        pytest.param(raw_tiff({258: (3, [24])}, bytes(192)), "24 bits a sample", id="24-bit"),
        pytest.param(bytes(raw_tiff()[:128]).ljust(128, b"\0") + b"DICM" + bytes(99), "DICOM", id="dicom"),
    ],
)
def test_other_kinds_are_refused_by_name(data: bytes, what: str) -> None:
    with pytest.raises(NotAnImage, match=f"^cells: .*{what}"):
        image(data)


def test_pages_by_pillow_are_a_stack() -> None:
    parts = [PillowImage.fromarray(grey(9, 7)) for _ in range(3)]
    found = stack(saved(parts[0], "TIFF", save_all=True, append_images=parts[1:]))
    assert (found.axes, found.shape, found.size) == ("I", (3,), (9, 7))
    np.testing.assert_array_equal(found.read(2).pixels[..., 0], np.asarray(parts[2]))
