"""CZI, ND2 and LIF as sources."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from maskq import InvalidJob, Options
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
