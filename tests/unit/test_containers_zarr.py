"""OME-Zarr as a source: versions, axes, URLs, parts, and layouts that hold no image."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from zarr.storage import FsspecStore

from maskq import InvalidJob, Options, PayloadTooLarge
from maskq.producer.settings import ClientSettings
from maskq.testing import FakeClient
from tests.container_files import write_ome_zarr
from tests.containers import Sent

STACK = np.random.default_rng(0).integers(0, 4000, (2, 3, 2, 40, 60), dtype=np.uint16)  # T, Z, C, Y, X
PLANE = STACK[0, 0, 0]


def refused(source: Any, **options: Any) -> str:
    with pytest.raises(InvalidJob) as raised:
        FakeClient().submit(source, options=Options(**options))
    return str(raised.value)


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_a_plane_is_sent_with_its_pixel_size(tmp_path: Path, version: str) -> None:
    sent = Sent(write_ome_zarr(tmp_path / "cells.ome.zarr", PLANE, "yx", version=version))
    assert np.array_equal(sent.pixels, PLANE)
    assert sent.axes == "YX"
    assert sent.pixel_size == (0.5, 0.5)
    assert sent.spec.name == "cells.ome.zarr"


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_a_stack_keeps_its_axes_names_and_numbers(tmp_path: Path, version: str) -> None:
    path = write_ome_zarr(tmp_path / "a.zarr", STACK, "tzcyx", version=version, channels=("DAPI", "GFP"))
    sent = Sent(path, planes="all", channels=(1, 2))
    assert (sent.axes, sent.channels) == ("TZCYX", ["DAPI", "GFP"])
    assert np.array_equal(sent.pixels, STACK)


@pytest.mark.parametrize("axes", ["tczyx", "cztyx", "zctxy", "xytcz"])
def test_axes_of_any_order_arrive_in_one(tmp_path: Path, axes: str) -> None:
    stored = STACK.transpose(["tzcyx".index(axis) for axis in axes])
    sent = Sent(write_ome_zarr(tmp_path / "a.zarr", stored, axes), planes="all", channels=(1, 2))
    assert np.array_equal(sent.pixels, STACK)


def test_planes_and_channels_that_are_not_chosen_are_empty(tmp_path: Path) -> None:
    path = write_ome_zarr(tmp_path / "a.zarr", STACK, "tzcyx", channels=("DAPI", "GFP"))
    sent = Sent(path, planes="2-4", channels="GFP")
    flat = sent.pixels.reshape(6, 2, 40, 60)
    assert np.array_equal(flat[1:4, 1], STACK.reshape(6, 2, 40, 60)[1:4, 1])
    assert flat[:, 0].max() == flat[0].max() == flat[4:].max() == 0
    assert (sent.spec.options.planes, sent.spec.options.channels) == ("2-4", "GFP")


def test_a_projection_gets_only_its_planes(tmp_path: Path) -> None:
    path = write_ome_zarr(tmp_path / "a.zarr", STACK[:, :, 0], "tzyx")
    assert np.array_equal(Sent(path, planes="max").pixels, STACK[:, :, 0])
    assert Sent(path, planes="mean:1-3").pixels[1].max() == 0


def test_channels_are_chosen_as_workers_choose_them(tmp_path: Path) -> None:
    path = write_ome_zarr(tmp_path / "a.zarr", STACK, "tzcyx", channels=("DAPI", "GFP"))
    assert np.array_equal(Sent(path, planes="2-4", channels=" gfp").pixels, Sent(path, planes="2-4", channels=2).pixels)
    both = Sent(path, planes="all", channels=(1, 2), composite="max")
    assert np.array_equal(Sent(path, planes="all", composite="max").pixels, both.pixels)
    path = write_ome_zarr(tmp_path / "b.zarr", STACK, "tzcyx", channels=("dapi", "Dapi"))
    assert "several channels are called DAPI" in refused(path, planes="1", channels="DAPI")


def test_without_a_choice_a_stack_and_its_channels_are_named(tmp_path: Path) -> None:
    path = write_ome_zarr(tmp_path / "a.zarr", STACK, "tzcyx", channels=("DAPI", "GFP"))
    assert "6 planes (T=2, Z=3) of 2 channels (C=2); choose with the option planes" in refused(path)
    assert "a channel with the option channels: 1" in refused(path)
    assert "1 (DAPI), 2 (GFP)" in refused(path, planes="1")
    assert "no channel Cy5; it has 1 (DAPI), 2 (GFP)" in refused(path, planes="1", channels="Cy5")
    assert "no planes 5-9; it has 6" in refused(path, planes="5-9", channels=1)


def test_a_level_has_its_own_pixel_size_and_the_job_says_so(tmp_path: Path) -> None:
    sent = Sent(write_ome_zarr(tmp_path / "a.zarr", PLANE, "yx"), level=1)
    assert np.array_equal(sent.pixels, PLANE[::2, ::2])
    assert sent.pixel_size == (1.0, 1.0)
    assert sent.spec.name == "a.zarr [level 1]"
    assert sent.spec.options == Options()


def test_a_level_that_also_reduces_z_is_not_offered(tmp_path: Path) -> None:
    path = write_ome_zarr(tmp_path / "a.zarr", STACK[0, :, 0], "zyx")
    group = zarr.open_group(path)
    group.create_array("1", data=STACK[0, :2, 0, ::2, ::2], overwrite=True)
    assert "no level 1; level 0 is 60 × 40" in refused(path, planes="all", level=1)


def test_a_url_is_read_by_fsspec() -> None:
    store = FsspecStore.from_url("memory://bucket/cells.zarr")
    write_ome_zarr(store, PLANE, "yx")
    sent = Sent("memory://bucket/cells.zarr")
    assert np.array_equal(sent.pixels, PLANE)
    assert sent.spec.name == "cells.zarr"


def test_a_zip_file_is_read(tmp_path: Path) -> None:
    write_ome_zarr(tmp_path / "cells", PLANE, "yx", version="0.5")
    shutil.make_archive(str(tmp_path / "cells"), "zip", tmp_path / "cells")
    (tmp_path / "cells.zip").rename(tmp_path / "cells.ozx")
    assert np.array_equal(Sent(tmp_path / "cells.ozx").pixels, PLANE)


def test_a_folder_without_the_suffix_is_found_by_its_contents(tmp_path: Path) -> None:
    assert np.array_equal(Sent(write_ome_zarr(tmp_path / "0", PLANE, "yx")).pixels, PLANE)


def test_a_bare_array_needs_axes(tmp_path: Path) -> None:
    zarr.create_array(tmp_path / "a.zarr", data=STACK[0, 0])
    assert "shape (2, 40, 60) without OME metadata; give the option axes" in refused(tmp_path / "a.zarr")
    sent = Sent(tmp_path / "a.zarr", axes="CYX", channels=2)
    assert np.array_equal(sent.pixels[1], STACK[0, 0, 1])
    assert sent.spec.options == Options(channels=2)


def test_the_dimension_names_of_a_bare_array_are_its_axes(tmp_path: Path) -> None:
    zarr.create_array(tmp_path / "a.zarr", data=STACK[0, 0], dimension_names=["c", "y", "x"])
    assert np.array_equal(Sent(tmp_path / "a.zarr", channels=1).pixels[0], STACK[0, 0, 0])


def test_colours_of_a_bare_array_stay_colours(tmp_path: Path) -> None:
    picture = STACK[0, :, 0].astype(np.uint8)
    zarr.create_array(tmp_path / "a.zarr", data=picture)
    sent = Sent(tmp_path / "a.zarr", axes="SYX")
    assert sent.axes == "YXS"
    assert np.array_equal(sent.pixels, picture.transpose(1, 2, 0))


@pytest.mark.parametrize(("samples", "axes"), [(1, "YX"), (2, "CYX"), (3, "YXS"), (4, "YXS")])
def test_three_or_four_samples_are_colours(tmp_path: Path, samples: int, axes: str) -> None:
    picture = np.dstack([STACK[0, 0, 0]] * samples).astype(np.uint8)
    zarr.create_array(tmp_path / "a.zarr", data=picture)
    sent = Sent(tmp_path / "a.zarr", axes="YXS", channels=1)
    assert sent.axes == axes
    first = sent.pixels[..., 0] if axes == "YXS" else sent.pixels.reshape(-1, 40, 60)[0]
    assert np.array_equal(first, picture[..., 0])


def test_a_plate_and_a_well_name_the_images_inside(tmp_path: Path) -> None:
    plate = tmp_path / "plate.zarr"
    group = zarr.open_group(plate, mode="w", zarr_format=2)
    group.attrs["plate"] = {"wells": [{"path": "A/1"}, {"path": "B/7"}]}
    well = group.create_group("A/1")
    well.attrs["well"] = {"images": [{"path": "0"}, {"path": "1"}]}
    assert f"a plate of 2 wells; give an image: {plate}/A/1/0, {plate}/B/7/0" in refused(plate)
    assert f"a well of 2 images; give one of them: {plate}/A/1/0" in refused(plate / "A" / "1")
    write_ome_zarr(plate / "A" / "1" / "0", PLANE, "yx")
    assert np.array_equal(Sent(plate / "A" / "1" / "0").pixels, PLANE)


def test_labels_are_no_image(tmp_path: Path) -> None:
    path = write_ome_zarr(tmp_path / "a.zarr", PLANE, "yx")
    labels = zarr.open_group(path / "labels", mode="w", zarr_format=2)
    labels.attrs["labels"] = ["nuclei"]
    assert "a group of labels (nuclei), not an image" in refused(path / "labels")
    write_ome_zarr(path / "labels" / "nuclei", PLANE, "yx")
    zarr.open_group(path / "labels" / "nuclei").attrs["image-label"] = {}
    assert "labels, not an image" in refused(path / "labels" / "nuclei")


def test_of_several_images_one_is_chosen(tmp_path: Path) -> None:
    group = zarr.open_group(tmp_path / "a.zarr", mode="w", zarr_format=2)
    group.attrs["bioformats2raw.layout"] = 3
    write_ome_zarr(tmp_path / "a.zarr" / "0", PLANE, "yx")
    assert np.array_equal(Sent(tmp_path / "a.zarr").pixels, PLANE)  # the only one
    write_ome_zarr(tmp_path / "a.zarr" / "1", PLANE[:20], "yx")
    assert f"2 images, choose one with the option scene, or give its path: {tmp_path}" in refused(tmp_path / "a.zarr")
    sent = Sent(tmp_path / "a.zarr", scene=2)
    assert np.array_equal(sent.pixels, PLANE[:20])
    assert sent.spec.name == "a.zarr [scene 2]"
    assert "no scene 3; it has 2" in refused(tmp_path / "a.zarr", scene=3)


def test_a_scale_without_a_unit_is_no_pixel_size(tmp_path: Path) -> None:
    assert Sent(write_ome_zarr(tmp_path / "a.zarr", PLANE, "yx", micrometres=None)).pixel_size is None


@pytest.mark.parametrize(("unit", "factor"), [("nanometer", 1e-3), ("millimeter", 1e3)])
def test_units_become_micrometres(tmp_path: Path, unit: str, factor: float) -> None:
    path = write_ome_zarr(tmp_path / "a.zarr", PLANE, "yx")
    attributes = path / ".zattrs"
    attributes.write_text(attributes.read_text().replace("micrometer", unit))
    assert Sent(path).pixel_size == pytest.approx((0.5 * factor, 0.5 * factor))


def test_the_scale_of_all_levels_counts_too(tmp_path: Path) -> None:
    path = write_ome_zarr(tmp_path / "a.zarr", PLANE, "yx")
    attributes = json.loads((path / ".zattrs").read_text())
    attributes["multiscales"][0]["coordinateTransformations"] = [{"type": "scale", "scale": [4, 2]}]
    (path / ".zattrs").write_text(json.dumps(attributes))
    assert Sent(path).pixel_size == (2.0, 1.0)


def test_an_image_over_the_limits_is_refused_with_its_levels(tmp_path: Path) -> None:
    path = write_ome_zarr(tmp_path / "a.zarr", PLANE, "yx")
    with pytest.raises(InvalidJob, match=r"over the limit of 1,000 pixels; choose .* level 1 is 30 × 20"):
        Sent(path, ClientSettings(max_pixels=1000))
    assert Sent(path, ClientSettings(max_pixels=1000), level=1).pixels.shape == (20, 30)


def test_a_stack_over_the_limit_of_bytes_is_refused_with_what_to_do(tmp_path: Path) -> None:
    path = write_ome_zarr(tmp_path / "a.zarr", STACK[:, :, 0], "tzyx")
    with pytest.raises(PayloadTooLarge, match="10,000 bytes; choose less with the options planes"):
        Sent(path, ClientSettings(max_bytes=10_000), planes="all")
    assert Sent(path, ClientSettings(max_bytes=10_000), planes="3").pixels.any()


def test_damaged_metadata_is_an_error_with_the_name(tmp_path: Path) -> None:
    path = write_ome_zarr(tmp_path / "a.zarr", PLANE, "yx")
    (path / ".zattrs").write_text("{")
    assert refused(path).startswith("a.zarr: can't be read as OME-Zarr (")
    (tmp_path / "b.zarr").mkdir()
    with pytest.raises((InvalidJob, OSError), match=r"b\.zarr"):
        FakeClient().submit(tmp_path / "b.zarr")


def test_types_that_tiff_does_not_hold_are_refused(tmp_path: Path) -> None:
    assert "int64 can't be sent" in refused(write_ome_zarr(tmp_path / "a.zarr", PLANE.astype(np.int64), "yx"))


def test_axes_that_are_not_those_of_the_metadata_are_refused(tmp_path: Path) -> None:
    write_ome_zarr(tmp_path / "a.zarr", np.zeros((3, 20, 30), np.uint8), "zyx")
    assert "its metadata name the axes ZYX" in refused(tmp_path / "a.zarr", axes="CYX", channels=1)
    assert Sent(tmp_path / "a.zarr", axes="ZYX", planes="2").axes == "ZYX"
