"""CZI, ND2 and LIF as sources."""

from __future__ import annotations

import io
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import czifile
import numpy as np
import pytest
from PIL import Image

from maskq import InvalidJob, Options
from maskq.producer.client.containers.czi import Tile, decoded, scene_of
from maskq.producer.client.containers.series import Box
from maskq.testing import FakeClient
from tests.container_files import slide_picture, write_lif
from tests.containers import Sent
from tests.nd2_files import write_nd2

FILES = Path(__file__).with_name("files")
FRAMES = np.random.default_rng(0).integers(0, 4000, (12, 20, 30, 2), dtype=np.uint16)


def refused(source: Any, **options: Any) -> str:
    with pytest.raises(InvalidJob) as raised:
        FakeClient().submit(source, options=Options(**options))
    return str(raised.value)


def czi_plane(scene: int, channel: int, z: int) -> np.ndarray[Any, Any]:
    y, x = np.mgrid[:16, :24]
    return np.asarray(24 * y + x + 1000 * channel + 10_000 * z + 3 * scene, np.uint16)


@pytest.mark.parametrize("compression", ["plain", "zstd0", "zstd1"])
def test_the_tiles_of_a_czi_scene_are_put_together(compression: str) -> None:
    path = FILES / f"tiles-{compression}.czi"
    sent = Sent(path, scene=2, planes="all", channels=(1, 2))
    assert (sent.axes, sent.channels) == ("ZCYX", ["DAPI", "GFP"])
    assert np.array_equal(sent.pixels, [[czi_plane(1, channel, z) for channel in (0, 1)] for z in (0, 1)])
    assert sent.pixel_size == (0.5, 0.25)
    assert sent.spec.name == f"tiles-{compression}.czi [scene 2]"


def test_a_region_of_a_czi_crosses_its_tiles() -> None:
    sent = Sent(FILES / "tiles-zstd1.czi", scene=1, planes="2", channels="GFP", region=(10, 3, 9, 8))
    assert np.array_equal(sent.pixels[1, 1], czi_plane(0, 1, 1)[3:11, 10:19])


def test_a_czi_with_several_scenes_is_refused_with_them() -> None:
    assert "2 images, choose one with the option scene: 1 is 24 × 16, 2 is 24 × 16" in refused(
        FILES / "tiles-zstd1.czi"
    )


def test_colours_of_a_czi_are_red_green_blue() -> None:
    sent = Sent(FILES / "colour.czi")
    assert sent.pixels.shape == (12, 16, 3)
    assert sent.pixels[3, 5].tolist() == [5, 100, 200]


class _Tile(Tile):
    """A tile of a picture: rows and columns of the full image, reduced."""

    def pixels(self) -> np.ndarray[Any, Any]:
        reduction = self.reduction
        rows, columns = self.extent("Y"), self.extent("X")
        return np.asarray(
            PYRAMID[rows.start : rows.stop : reduction, columns.start - 100 : columns.stop - 100 : reduction]
        )


PYRAMID = np.random.default_rng(3).integers(0, 255, (20, 33), dtype=np.uint8)


def tile(left: int, width: int, reduction: int, z: int = 0) -> _Tile:
    starts = {"X": (100 + left, width), "Y": (0, 20), "S": (0, 1), "Z": (z, 1)}
    dimensions = [
        SimpleNamespace(
            dimension=axis, start=start, size=size, stored_size=-(-size // reduction) if axis in "XY" else 1
        )
        for axis, (start, size) in starts.items()
    ]
    return _Tile(SimpleNamespace(dimension_entries=dimensions, dtype="<u1"))


def test_the_levels_of_a_czi_are_its_reduced_tiles() -> None:
    tiles = [tile(0, 20, 1), tile(20, 13, 1), tile(0, 20, 2), tile(20, 13, 2), tile(0, 33, 4)]
    found = scene_of(tiles, ElementTree.fromstring("<ImageDocument/>"))
    assert found.levels == ((20, 33), (10, 17), (5, 9))
    for level, (height, width) in enumerate(found.levels):
        pixels = found.read(level, {}, Box(1, 2, height, width))
        assert np.array_equal(pixels, PYRAMID[:: 2**level, :: 2**level][1:, 2:])


def test_jpeg_in_a_czi_is_red_green_blue(monkeypatch: pytest.MonkeyPatch) -> None:
    picture = np.empty((16, 24, 3), np.uint8)
    picture[:] = (200, 100, 50)
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "JPEG", quality=95, subsampling=0)
    with czifile.CziFile(FILES / "colour.czi") as file:
        entry = file.subblock_directory[0]
        segment = entry.data_segment()
        monkeypatch.setattr(entry, "compression", 1)
        monkeypatch.setattr(entry, "data_segment", lambda: segment)
        segment.directory_entry = entry
        for dimension in entry.dimension_entries:
            dimension.stored_size = {"Y": 16, "X": 24}.get(dimension.dimension, 1)
        segment._fh, segment.data_offset, segment.data_size = _Jpeg(stream.getvalue()), 0, len(stream.getvalue())
        assert abs(decoded(entry).astype(int) - picture).max() < 4


class _Jpeg(io.BytesIO):
    """A file of a JPEG, as czifile reads it."""

    lock = nullcontext()


def test_an_nd2_keeps_its_axes_and_its_positions_are_scenes(tmp_path: Path) -> None:
    path = write_nd2(tmp_path / "a.nd2", FRAMES, {"T": 2, "P": 2, "Z": 3}, ("DAPI", "GFP"), 0.325)
    assert "2 images, choose one with the option scene" in refused(path)
    sent = Sent(path, scene=2, planes="all", channels=(1, 2))
    assert (sent.axes, sent.channels) == ("TZCYX", ["DAPI", "GFP"])
    expected = FRAMES.reshape(2, 2, 3, 20, 30, 2)[:, 1].transpose(0, 1, 4, 2, 3)
    assert np.array_equal(sent.pixels, expected)
    assert sent.pixel_size == (0.325, 0.325)


def test_colours_of_an_nd2_are_red_green_blue(tmp_path: Path) -> None:
    stored = np.dstack([FRAMES[0], FRAMES[1, ..., :1]])[None].astype(np.uint8)
    path = write_nd2(tmp_path / "a.nd2", stored, {}, ("Brightfield",), None)
    sent = Sent(path)
    assert np.array_equal(sent.pixels, stored[0, ..., ::-1])
    assert sent.pixel_size is None  # not calibrated


def test_channels_of_colours_are_refused(tmp_path: Path) -> None:
    frames = np.concatenate([FRAMES, FRAMES, FRAMES], axis=3)[:1].astype(np.uint8)
    path = write_nd2(tmp_path / "a.nd2", frames, {}, ("one", "two"), None)
    assert "2 channels of colours each, which is not read" in refused(path)


def test_a_plain_nd2_is_one_plane(tmp_path: Path) -> None:
    path = write_nd2(tmp_path / "a.nd2", FRAMES[:1, ..., :1], {}, ("DAPI",), 0.5)
    sent = Sent(path)
    assert np.array_equal(sent.pixels, FRAMES[0, ..., 0])
    assert sent.channels == ["DAPI"]


def test_the_images_of_a_lif_are_scenes(tmp_path: Path) -> None:
    stack = FRAMES[:6].reshape(3, 2, 20, 30, 2).transpose(1, 0, 4, 2, 3)[:, :, 0]  # C, Z, Y, X
    picture = slide_picture(24, 32)
    path = write_lif(tmp_path / "a.lif", {"one": stack[:, :1], "stack": stack, "colour": picture})
    assert "1 is 30 × 20 (one), 2 is 30 × 20 (stack), 3 is 32 × 24 (colour)" in refused(path)
    one = Sent(path, scene=1, channels="GFP")
    assert (one.axes, one.channels, one.pixel_size) == ("CYX", ["DAPI", "GFP"], (0.5, 0.25))
    assert np.array_equal(one.pixels[1], stack[1, 0])
    assert np.array_equal(Sent(path, scene=2, planes="all", channels=(1, 2)).pixels, stack.transpose(1, 0, 2, 3))
    assert np.array_equal(Sent(path, scene=3).pixels, picture)


@pytest.mark.parametrize(("name", "container"), [("a.czi", "CZI"), ("a.nd2", "ND2"), ("a.lif", "LIF")])
def test_other_bytes_are_refused_by_name(tmp_path: Path, name: str, container: str) -> None:
    (tmp_path / name).write_bytes(b"something else" * 20)
    assert refused(tmp_path / name).startswith(f"{name}: can't be read as {container} (")


def test_a_czi_that_is_cut_short_is_refused(tmp_path: Path) -> None:
    data = (FILES / "tiles-plain.czi").read_bytes()
    (tmp_path / "a.czi").write_bytes(data[: len(data) // 2])
    assert refused(tmp_path / "a.czi", scene=1, planes="1", channels=1).startswith("a.czi: ")


def test_a_part_of_a_czi_may_begin_at_any_plane() -> None:
    tiles = [tile(0, 33, 1, z=5), tile(0, 33, 1, z=6)]
    found = scene_of(tiles, ElementTree.fromstring("<ImageDocument/>"))
    assert found.axes["Z"] == 2
    for index in range(2):
        assert np.array_equal(found.read(0, {"Z": index}, Box(0, 0, 20, 33)), PYRAMID)


def test_channels_of_different_types_in_a_czi_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with czifile.CziFile(FILES / "tiles-zstd1.czi") as file:
        entries = file.subblock_directory
    monkeypatch.setattr(entries[0], "dtype", "<u4")
    monkeypatch.setattr(czifile.CziFile, "subblock_directory", entries)
    assert "pixels of different types" in refused(FILES / "tiles-zstd1.czi", scene=1, planes="1", channels=1)
