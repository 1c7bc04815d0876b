"""Planes are found by the metadata of the program that wrote the file; none is ever dropped."""

from __future__ import annotations

import io
import json
import struct
from math import prod
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from maskq.segmentation.errors import ImageError, ImageTooLarge, MultiPageImage, NotAnImage, TruncatedImage
from maskq.segmentation.images import ChannelKind, ImageLimits, Stack, View, read_image
from maskq.segmentation.images.tiff import scene, uncompressed
from tests.image_files import Array, raw_tiff

from .files import grey, image, pages, planes, stack, written

LENGTHS = {"T": 2, "Z": 3, "C": 4}


def shown(data: bytes) -> tuple[str, Array]:
    """The outer axes, and all planes with their channels last."""
    found = read_image(data, "cells")
    return (found.axes, planes(found)) if isinstance(found, Stack) else ("", found.pixels)


def as_read(pixels: Array, axes: str) -> tuple[str, Array]:
    """What `shown` should give for an array of these axes."""
    pixels = np.moveaxis(pixels, axes.index("C"), -1) if "C" in axes else pixels[..., None]
    return axes.translate({ord(axis): None for axis in "CYX"}), pixels


@st.composite
def hyperstacks(draw: st.DrawFn, order: bool) -> tuple[Array, str]:
    """An array of some of the axes T, Z and C, in ImageJ's order or in any, before Y and X."""
    outer = draw(st.lists(st.sampled_from("TZC"), min_size=1, unique=True).map("".join))
    if order:
        outer = "".join(axis for axis in "TZC" if axis in outer)
    shape = tuple(draw(st.integers(2, 4)) for _ in outer)
    return grey(*shape, 5, 6, dtype="u2"), outer + "YX"


@settings(deadline=None)
@given(hyperstacks(order=False), st.sampled_from([None, "zstd"]), st.booleans())
def test_a_hyperstack_by_tifffile_has_its_axes(made: tuple[Array, str], compression: str | None, big: bool) -> None:
    pixels, axes = made
    found = shown(written(pixels, compression=compression, bigtiff=big, metadata={"axes": axes}))
    assert found[0] == as_read(pixels, axes)[0]
    np.testing.assert_array_equal(found[1], as_read(pixels, axes)[1])


@settings(deadline=None)
@given(hyperstacks(order=True), st.sampled_from([None, "zstd"]), st.booleans())
def test_a_hyperstack_by_imagej_has_its_axes(made: tuple[Array, str], compression: str | None, one: bool) -> None:
    pixels, axes = made
    found = shown(written(pixels, imagej=True, compression=compression, metadata={"axes": axes}))
    assert found[0] == as_read(pixels, axes)[0]
    np.testing.assert_array_equal(found[1], as_read(pixels, axes)[1])


@settings(deadline=None)
@given(hyperstacks(order=False), st.sampled_from([None, "zstd"]))
def test_a_hyperstack_by_ome_has_its_axes_in_any_order(made: tuple[Array, str], compression: str | None) -> None:
    pixels, axes = made
    found = shown(written(pixels, ome=True, compression=compression, metadata={"axes": axes}))
    assert found[0] == as_read(pixels, axes)[0]
    np.testing.assert_array_equal(found[1], as_read(pixels, axes)[1])


@settings(deadline=None, max_examples=30)
@given(hyperstacks(order=True), st.sampled_from([{}, {"imagej": True}, {"ome": True}]))
def test_the_axes_are_those_of_tifffile(made: tuple[Array, str], kind: dict[str, bool]) -> None:
    pixels, axes = made
    data = written(pixels, metadata={"axes": axes}, **kind)
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        series = file.series[0]
        expected = as_read(series.asarray(), series.axes)
    assert shown(data)[0] == expected[0]
    np.testing.assert_array_equal(shown(data)[1], expected[1])


@pytest.mark.parametrize("imagej", [False, True])
def test_a_stack_in_one_directory_is_all_its_planes(imagej: bool) -> None:
    pixels = grey(3, 8, 9)
    data = written(pixels, imagej=imagej, metadata={"axes": "ZYX"} | ({} if imagej else {"truncate": True}))
    data = one_directory(data, pixels)
    found = stack(data)
    assert (found.axes, found.shape, found.size) == ("Z", (3,), (8, 9))
    np.testing.assert_array_equal(planes(found)[..., 0], pixels)
    more = data.replace(b'"shape": [3,', b'"shape": [8,').replace(b"slices=3", b"slices=8")
    with pytest.raises(TruncatedImage, match="cut short: .* before the last of 8 planes"):
        stack(more)


def stk(pixels: Array, z_distance: int) -> bytes:
    """As MetaMorph writes a stack: its planes stand one after another, and UIC2 has six integers for each."""
    count, body = len(pixels), pixels.tobytes()
    tables = b"".join(struct.pack("<6I", z_distance, 1, 2_450_000, 1000 * n, 0, 0) for n in range(count))
    unit = struct.pack("<I", 3) + b"um\0"
    calibration = struct.pack("<4I", 1, 2, 1, 4)
    at = 16 + len(body)
    pairs = struct.pack("<6I", 4, at + len(tables), 5, at + len(tables) + 8, 6, at + len(tables) + 16)
    extra = tables + calibration + unit
    body += extra + b"\0" * (-len(extra) % 2) + pairs
    pairs_at = 16 + len(body) - len(pairs)
    data = bytearray(raw_tiff({279: (4, [64]), 33628: (4, [3] * 3), 33629: (5, [1] * 2 * count)}, body))
    return _pointed(_pointed(data, 33628, pairs_at, 3), 33629, at, count)


def _pointed(data: bytes | bytearray, tag: int, offset: int, count: int) -> bytes:
    """The file whose tag has this many values at this offset."""
    changed = bytearray(data)
    with tifffile.TiffFile(io.BytesIO(data), is_stk=False) as file:
        start = file.pages.first.offset
    for n in range(struct.unpack_from("<H", changed, start)[0]):
        place = start + 2 + 12 * n
        if struct.unpack_from("<H", changed, place)[0] == tag:
            struct.pack_into("<II", changed, place + 4, count, offset)
    return bytes(changed)


def one_directory(data: bytes, pixels: Array) -> bytes:
    """The file with its planes at its end and without pages after the first."""
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        text = file.pages.first.description.encode() + b"\0"
    start = 16
    return raw_tiff(
        {256: (4, [9]), 257: (4, [8]), 278: (4, [8]), 270: (2, text), 273: (4, [start + len(text)]), 279: (4, [72])},
        text + pixels.tobytes(),
    )


@pytest.mark.parametrize("dtype", ["u1", ">u2", "f4"])
def test_what_tifffile_writes_into_one_directory_is_read(dtype: str) -> None:
    pixels = grey(4, 8, 9).astype(dtype)
    stream = io.BytesIO()
    with tifffile.TiffWriter(stream, byteorder=">") as writer:
        writer.write(pixels, photometric="minisblack", metadata={"axes": "TYX"}, truncate=True)
    found = stack(stream.getvalue())
    assert found.axes == "T"
    np.testing.assert_array_equal(planes(found)[..., 0], pixels)


def test_planes_that_were_compressed_cannot_stand_in_one_directory() -> None:
    text = json.dumps({"shape": [3, 8, 8]}).encode()
    data = raw_tiff({270: (2, text + b"\0"), 259: (3, [8])}, bytes(64))
    with pytest.raises(NotAnImage, match="a stack of 3 planes of which the TIFF has one page; save every plane"):
        read_image(data, "cells")


@pytest.mark.parametrize(
    "text",
    [
        "ImageJ=1.54f\nimages=5\nslices=5\n",
        '{"shape": [5, 8, 8]}',
        '{"shape": [5, 8, 8], "axes": "ZYX"}',
    ],
)
def test_planes_that_the_metadata_name_and_the_file_has_not_are_missing(text: str) -> None:
    with pytest.raises(TruncatedImage, match="cut short"):
        read_image(described(text), "cells")


@pytest.mark.parametrize("tile", [None, (16, 16, 16)])
@pytest.mark.parametrize("compression", [None, "zstd"])
def test_a_volume_is_a_stack_whose_planes_are_decoded_alone(
    tile: tuple[int, ...] | None, compression: str | None
) -> None:
    pixels = grey(20, 32, 24)
    found = stack(written(pixels, volumetric=True, tile=tile, compression=compression))
    assert (found.axes, found.shape) == ("Z", (20,))
    np.testing.assert_array_equal(planes(found)[..., 0], pixels)


def test_pages_of_one_size_are_a_stack_of_unknown_axis() -> None:
    pixels = grey(5, 7, 8)
    found = stack(written(pixels, metadata=None))
    assert (found.axes, found.shape) == ("I", (5,))
    np.testing.assert_array_equal(planes(found)[..., 0], pixels)


def test_frames_written_one_by_one_are_one_stack() -> None:
    frames = grey(4, 7, 8)
    found = stack(pages([(frame, {"metadata": {}, "contiguous": False}) for frame in frames]))
    assert (found.axes, found.shape) == ("I", (4,))
    np.testing.assert_array_equal(planes(found)[..., 0], frames)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(raw_tiff({32997: (4, [9])}), id="depth"),
        pytest.param(stk(grey(9, 8, 8), 1), id="stk"),
    ],
)
def test_too_many_planes_are_refused(data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (scene, uncompressed):
        monkeypatch.setattr(module, "MAX_PLANES", 8)
    with pytest.raises(MultiPageImage, match="a TIFF of more than 8 planes; send it in parts"):
        read_image(data, "cells")


def test_pages_named_over_and_over_are_not_followed() -> None:
    text = ome_of_files("urn:a", *["<TiffData/>"] * 500, sizes='SizeZ="3" SizeC="1" SizeT="1"')
    found = stack(written(grey(3, 8, 8), metadata=None, description=text))
    assert (found.axes, found.shape) == ("I", (3,))


def test_colour_planes_stay_colours() -> None:
    pixels = grey(3, 7, 8, 3)
    for options in ({}, {"imagej": True}, {"ome": True}):
        found = stack(written(pixels, photometric="rgb", metadata={"axes": "ZYXS"}, **options))
        assert found.axes == "Z" and found.read(0).kind is ChannelKind.RGB
        np.testing.assert_array_equal(planes(found), pixels)


def test_channels_have_the_names_of_ome() -> None:
    found = image(written(grey(2, 7, 8), ome=True, metadata={"axes": "CYX", "Channel": {"Name": ["DAPI", "actin"]}}))
    assert found.channel_names == ("DAPI", "actin") and found.kind is ChannelKind.SEPARATE


def test_channels_have_the_labels_of_imagej() -> None:
    found = image(written(grey(2, 7, 8), imagej=True, metadata={"axes": "CYX", "Labels": ["DAPI", "actin"]}))
    assert found.channel_names == ("DAPI", "actin") and found.kind is ChannelKind.SEPARATE


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        (["c:1/2 z:1/2 - DAPI", "c:2/2 z:1/2 - actin", "c:1/2 z:2/2 - DAPI", "c:2/2 z:2/2 - actin"], ("DAPI", "actin")),
        (["DAPI", "actin"] * 2, ("DAPI", "actin")),
        (["c:1/2 z:1/2 - a.tif", "c:2/2 z:1/2 - a.tif", "c:1/2 z:2/2 - a.tif", "c:2/2 z:2/2 - a.tif"], ()),
        (["c:1/2 z:1/2", "c:2/2 z:1/2", "c:1/2 z:2/2", "c:2/2 z:2/2"], ()),
        (["DAPI", "actin", "DAPI", "tubulin"], ()),
    ],
)
def test_labels_that_all_slices_of_a_channel_share_are_its_name(labels: list[str], names: tuple[str, ...]) -> None:
    found = stack(written(grey(2, 2, 7, 8), imagej=True, metadata={"axes": "ZCYX", "Labels": labels}))
    assert found.read(0).channel_names == names


def test_labels_of_slices_are_no_channel_names() -> None:
    found = stack(written(grey(2, 2, 7, 8), imagej=True, metadata={"axes": "ZCYX", "Labels": list("abcd")}))
    assert found.read(0).channel_names == ()


def test_ome_names_three_samples_as_channels_though_the_page_says_rgb() -> None:
    channels = "".join(f'<Channel Name="{name}" SamplesPerPixel="1"/>' for name in ("DAPI", "actin", "tubulin"))
    text = ome_of_files("urn:a", "<TiffData/>", sizes='SizeZ="1" SizeC="3" SizeT="1"', channels=channels)
    tags = {270: (2, text.encode() + b"\0"), 277: (3, [3]), 262: (3, [2]), 258: (3, [8] * 3)}
    found = image(raw_tiff(tags, bytes(192)))
    assert found.kind is ChannelKind.SEPARATE and found.channel_names == ("DAPI", "actin", "tubulin")


def test_scenes_of_ome_are_chosen_by_number() -> None:
    first, second = grey(7, 8), grey(3, 5, 6)
    data = pages([(first, {"metadata": {"axes": "YX"}}), (second, {"metadata": {"axes": "ZYX"}})], ome=True)
    with pytest.raises(
        MultiPageImage, match=r"2 images .*: 1 \(7×8\), 2 \(5×6, Z=3\); choose one with the option scene"
    ):
        read_image(data, "cells")
    np.testing.assert_array_equal(image(data, View(scene=1)).pixels[..., 0], first)
    np.testing.assert_array_equal(planes(stack(data, View(scene=2)))[..., 0], second)


def ome_of_files(
    uuid: str,
    *blocks: str,
    sizes: str = 'SizeZ="2" SizeC="1" SizeT="1"',
    channels: str = '<Channel SamplesPerPixel="1"/>',
) -> str:
    """OME-XML of an image of 8×8 pixels."""
    return (
        f'<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" UUID="{uuid}"><Image ID="Image:0">'
        f'<Pixels DimensionOrder="XYZCT" Type="uint8" SizeX="8" SizeY="8" {sizes}>{channels}'
        f"{''.join(blocks)}</Pixels></Image></OME>"
    )


def described(text: str) -> bytes:
    """A TIFF of one grey page of 8×8 pixels with this description."""
    return raw_tiff({270: (2, text.encode() + b"\0")})


def block(plane: int, uuid: str, file: str) -> str:
    return f'<TiffData FirstZ="{plane}" IFD="0" PlaneCount="1"><UUID FileName="{file}">{uuid}</UUID></TiffData>'


def test_planes_in_other_files_are_named() -> None:
    data = described(ome_of_files("urn:a", block(0, "urn:a", "z0.ome.tif"), block(1, "urn:b", "z1.ome.tif")))
    with pytest.raises(MultiPageImage, match=r"1 of 2 planes \(Z=2\); the others are in z1\.ome\.tif; save all planes"):
        read_image(data, "cells")


def test_planes_that_ome_names_and_the_file_has_not_are_missing() -> None:
    with pytest.raises(TruncatedImage, match=r"cut short: 1 of 2 planes \(Z=2\)"):
        read_image(described(ome_of_files("urn:a", "<TiffData/>")), "cells")


@pytest.mark.parametrize(
    "sizes",
    [
        'SizeZ="999" SizeC="9" SizeT="9"',
        'SizeZ="-1" SizeC="1" SizeT="1"',
        'SizeZ="two" SizeC="1" SizeT="1"',
        'SizeZ="1" SizeC="1"',
    ],
)
def test_ome_of_any_sizes_is_ignored_or_cut_short(sizes: str) -> None:
    try:
        assert image(described(ome_of_files("urn:a", "<TiffData/>", sizes=sizes))).pixels.shape == (8, 8, 1)
    except ImageError as error:
        assert "cut short" in str(error)


@pytest.mark.parametrize(
    "text",
    [
        "ImageJ=1.54f\nimages=x\nslices=-3\n",
        "ImageJ=",
        '{"shape": "no"}',
        '{"shape": [[8, 8]]}',
        '{"shape": {}}',
        '{"shape": [8, 8]',
        '<?xml version="1.0"?><OME>',
        "<OME><Image/></OME>",
        "<OME><Image><Pixels/></Image></OME>",
        "Aperio",
    ],
)
def test_metadata_that_make_no_sense_leave_a_good_page_readable(text: str) -> None:
    assert image(described(text)).pixels.shape == (8, 8, 1)


@pytest.mark.parametrize(("z_distance", "axis"), [(1, "Z"), (0, "T")])
def test_a_metamorph_stack_has_all_planes(z_distance: int, axis: str) -> None:
    pixels = grey(5, 8, 8)
    found = stack(stk(pixels, z_distance))
    assert (found.axes, found.shape) == (axis, (5,))
    np.testing.assert_array_equal(planes(found)[..., 0], pixels)
    assert found.read(0).pixel_size == (0.25, 0.5)


def lsm(pixels: Array, scan: int, frames: int, slices: int, **options: Any) -> bytes:
    """As Zeiss LSM writes (planes, channels, H, W): each page has its channels by band, and a thumbnail after it."""
    info = struct.pack("<I6i", 0x00400494C, 500, 8, 8, slices, pixels.shape[1], frames).ljust(40, b"\0")
    info += struct.pack("<2d", 0.5e-6, 0.25e-6).ljust(48, b"\0") + struct.pack("<H", scan)
    info = info.ljust(500, b"\0")
    channels = {"photometric": "rgb", "planarconfig": "separate"} if pixels.shape[1] == 3 else {"planarconfig": 2}
    parts = []
    for number, plane in enumerate(pixels):
        own = {"extratags": [(34412, 1, len(info), info, True)]} if number == 0 else {}
        parts += [(plane, channels | own | options), (grey(4, 4), {"subfiletype": 1})]
    return pages(parts)


@pytest.mark.parametrize("channels", [2, 3])
@pytest.mark.parametrize(("scan", "axes", "shape"), [(0, "Z", (6,)), (3, "T", (6,)), (6, "TZ", (2, 3))])
def test_a_zeiss_lsm_has_its_axes_and_no_thumbnails(
    scan: int, axes: str, shape: tuple[int, ...], channels: int
) -> None:
    pixels = grey(6, channels, 8, 8)
    frames, slices = {"Z": (1, 6), "T": (6, 1), "TZ": (2, 3)}[axes]
    found = stack(lsm(pixels, scan, frames, slices))
    assert (found.axes, found.shape) == (axes, shape)
    np.testing.assert_array_equal(planes(found).reshape(6, 8, 8, channels), np.moveaxis(pixels, 1, -1))
    assert found.read(0).kind is ChannelKind.SEPARATE and found.read(0).pixel_size == (0.25, 0.5)


def test_a_compressed_zeiss_lsm_is_refused_by_name() -> None:
    with pytest.raises(NotAnImage, match="a compressed Zeiss LSM, which maskq does not read; save it as OME-TIFF"):
        read_image(lsm(grey(3, 2, 8, 8), 0, 1, 3, compression="lzw"), "cells")


def micro_manager(pixels: Array, axes: str, frames: int | None = None) -> bytes:
    """As Micro-Manager writes (T, Z, C, H, W): a table of planes and a summary between the header and the pages."""
    outer = pixels.shape[:3]
    summary = json.dumps({
        "Frames": frames or outer[0], "Slices": outer[1], "Channels": outer[2], "Positions": 1,
        "ChNames": ["DAPI", "actin"], "PixelSize_um": 0.65, "MicroManagerVersion": "2.0",
        "TimeFirst": True, "SlicesFirst": True,
    }).encode()  # fmt: skip
    size, height, width = prod(outer), *pixels.shape[3:]
    table_at = 40 + len(summary)
    first = table_at + 8 + 20 * size
    directory = 162  # of 13 tags, which tifffile relies on
    data = bytearray(struct.pack("<2sHI", b"II", 42, first))
    data += struct.pack("<8I", 54773648, table_at, 483765892, 0, 99384722, 0, 2355492, len(summary)) + summary
    offsets = [first + n * (directory + height * width) for n in range(size)]
    data += struct.pack("<2I", 3453623, size)
    for number, (t, z, c) in enumerate(np.ndindex(*outer)):
        data += struct.pack("<5I", c, z, t, 0, offsets[number])
    for number, place in enumerate(np.ndindex(*outer)):
        tags = {256: width, 257: height, 258: 8, 259: 1, 262: 1, 273: offsets[number] + directory, 277: 1,
                278: height, 279: height * width, **dict.fromkeys(range(40_001, 40_005), 0)}  # fmt: skip
        data += struct.pack("<H", 13) + b"".join(struct.pack("<HHII", tag, 4, 1, n) for tag, n in tags.items())
        data += struct.pack("<I", offsets[number + 1] if number + 1 < size else 0) + pixels[place].tobytes()
    return bytes(data)


def test_a_micro_manager_stack_has_its_axes_names_and_pixel_size() -> None:
    pixels = grey(2, 3, 2, 8, 6)
    data = micro_manager(pixels, "TZC")
    found = stack(data)
    assert (found.axes, found.shape) == ("TZ", (2, 3))
    np.testing.assert_array_equal(planes(found), np.moveaxis(pixels, 2, -1))
    assert found.read(0).channel_names == ("DAPI", "actin") and found.read(0).pixel_size == (0.65, 0.65)
    with tifffile.TiffFile(io.BytesIO(data), is_micromanager=True) as file:
        np.testing.assert_array_equal(file.series[0].asarray(), pixels)


def test_a_micro_manager_file_of_several_is_refused() -> None:
    with pytest.raises(MultiPageImage, match="one file of a Micro-Manager data set, with 12 of 60 planes"):
        stack(micro_manager(grey(2, 3, 2, 8, 6), "TZC", frames=10))


def test_a_thousand_planes_are_read_one_by_one() -> None:
    pixels = grey(1000, 4, 5)
    found = stack(written(pixels, metadata={"axes": "TYX"}))
    assert found.count == 1000
    np.testing.assert_array_equal(found.read(999).pixels[..., 0], pixels[999])


def test_the_limit_of_pixels_is_that_of_a_plane() -> None:
    data = written(grey(50, 10, 10), metadata={"axes": "TYX"})
    assert isinstance(read_image(data, "cells", ImageLimits(max_pixels=100)), Stack)
    with pytest.raises(ImageTooLarge, match="10×10 is 100 pixels, over the limit of 99 pixels"):
        read_image(data, "cells", ImageLimits(max_pixels=99))


def test_more_than_16_channels_are_refused() -> None:
    with pytest.raises(NotAnImage, match="17 channels, more than 16"):
        read_image(written(grey(17, 6, 6), metadata={"axes": "CYX"}), "cells")


def test_a_stack_that_is_cut_short_is_refused_before_a_plane_is_read() -> None:
    data = written(grey(9, 20, 20), metadata=None)
    for end in range(700, len(data) - 200, 100):
        with pytest.raises(TruncatedImage, match="cut short"):
            read_image(data[:end], "cells")


@settings(deadline=None, max_examples=200)
@given(
    st.sampled_from(
        [
            written(grey(3, 8, 8), metadata={"axes": "ZYX"}),
            written(grey(2, 2, 8, 8), imagej=True, metadata={"axes": "ZCYX"}),
            written(grey(2, 2, 8, 8), ome=True, metadata={"axes": "CZYX"}),
            stk(grey(5, 8, 8), 1),
            lsm(grey(4, 2, 8, 8), 0, 1, 4),
            micro_manager(grey(2, 1, 2, 8, 6), "TZC"),
            pages([(grey(32, 32), {"subifds": 1}), (grey(16, 16), {"subfiletype": 1})]),
        ]
    ),
    st.lists(st.tuples(st.integers(0, 3_000), st.binary(min_size=1, max_size=4)), min_size=1, max_size=4),
)
def test_a_damaged_file_of_several_pages_is_read_or_raises_a_typed_error(
    data: bytes, patches: list[tuple[int, bytes]]
) -> None:
    changed = bytearray(data)
    for offset, patch in patches:
        changed[offset % len(data) : offset % len(data) + len(patch)] = patch
    try:
        found = read_image(bytes(changed[: len(data)]), "cells", ImageLimits(max_pixels=1_000_000))
        for index in range(min(found.count, 4) if isinstance(found, Stack) else 0):
            assert isinstance(found, Stack) and found.read(index).pixels.ndim == 3
    except ImageError as error:
        assert str(error).startswith("cells")
