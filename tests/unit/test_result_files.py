"""The files that `maskq run` and `maskq result` write, and their formats."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

from maskq import UnknownFormat
from maskq.cli.result_files import Summary
from maskq.producer.formats.registry import FORMATS, select
from maskq.segmentation.errors import NotAnImage
from maskq.segmentation.label_stack import encode_stack
from maskq.segmentation.labels import encode
from tests.conftest import png
from tests.results import result_of, stack_result, write_result


@pytest.fixture
def labels() -> NDArray[np.int32]:
    array = np.zeros((20, 30), np.int32)
    array[2:6, 3:10] = 1
    array[10:15, 20:30] = 2
    return array


def test_labels_are_a_16_bit_png_that_anything_reads(labels: NDArray[np.int32], tmp_path: Path) -> None:
    write_result(result_of(labels), png(np.zeros((20, 30), np.uint8)), tmp_path / "new", "cells")
    with Image.open(tmp_path / "new/cells.labels.png") as image:
        assert image.mode == "I;16"
        assert np.array_equal(np.asarray(image), labels)


@pytest.mark.parametrize("shape", [(1, 1), (3, 1_000_000), (1_000_001, 2)])
def test_labels_of_any_shape_are_lossless(shape: tuple[int, int]) -> None:
    labels = np.zeros(shape, np.int32)
    labels[-1, -1] = 65_535
    labels[0, 0] = 1
    with PngImagePlugin.PngImageFile(io.BytesIO(encode(labels))) as image:
        assert np.array_equal(np.asarray(image), labels)


@pytest.mark.parametrize("labels", [np.random.default_rng(0).permutation(50_000), np.arange(30_000)])
def test_incompressible_labels_in_any_memory_order_are_lossless(labels: NDArray[np.int64]) -> None:
    for shaped in (labels.reshape(-1, 1), np.asfortranarray(labels.reshape(100, -1))):
        with PngImagePlugin.PngImageFile(io.BytesIO(encode(shaped.astype(np.int32)))) as image:
            assert np.array_equal(np.asarray(image), shaped)


def test_beyond_65535_objects_labels_are_a_32_bit_tiff(tmp_path: Path) -> None:
    many = np.arange(300 * 300, dtype=np.int32).reshape(300, 300)
    result = result_of(many, described=False)
    write_result(result, png(np.zeros((300, 300), np.uint8)), tmp_path, "cells")
    with Image.open(tmp_path / "cells.labels.tif") as image:
        assert np.array_equal(np.asarray(image), many)
    assert np.array_equal(result.labels, many)
    assert not (tmp_path / "cells.labels.png").exists()


def test_the_json_file_describes_the_job_and_lists_its_objects(labels: NDArray[np.int32], tmp_path: Path) -> None:
    write_result(result_of(labels), png(np.zeros((20, 30), np.uint8)), tmp_path, "cells")
    document = json.loads((tmp_path / "cells.json").read_text())
    first, second = document.pop("objects")
    assert document == {
        "image": "cells.png",
        "job_id": "j1",
        "height": 20,
        "width": 30,
        "model": "nuclei@1",
        "timings": {"queued": 1, "embedding": 2, "embedded": 3, "clustering": 4, "total": 10},
        "channels": [],
        "pixel_size": None,
        "notes": [],
    }
    assert first.keys() == {"id", "score", "bbox", "area", "centroid", "rle"}
    assert (first["id"], first["bbox"], first["area"], first["centroid"]) == (1, [3, 2, 7, 4], 28, [6.0, 3.5])
    assert (second["id"], second["score"], second["rle"]["size"]) == (2, 0.75, [20, 30])


def test_the_overlay_is_the_image_in_colour_with_the_objects_on_it(labels: NDArray[np.int32], tmp_path: Path) -> None:
    path = write_result(result_of(labels), png(np.zeros((20, 30), np.uint8)), tmp_path, "cells")["overlay"]
    assert path == tmp_path / "cells.overlay.png"
    with Image.open(path) as image:
        drawn = np.asarray(image.convert("RGB"))
    assert drawn.shape == (20, 30, 3)
    assert drawn[2:6, 3:10].any()
    assert not drawn[8, 15].any()


def test_an_image_that_cannot_be_drawn_leaves_no_partial_file(labels: NDArray[np.int32], tmp_path: Path) -> None:
    with pytest.raises(NotAnImage, match="cells"):
        write_result(result_of(labels), b"the original is lost", tmp_path, "cells")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cells.json", "cells.labels.png"]


def test_labels_of_a_huge_image_are_read_despite_pillows_pixel_limit(
    labels: NDArray[np.int32], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    assert np.array_equal(result_of(labels).labels, labels)


def test_only_the_selected_formats_are_written(labels: NDArray[np.int32], tmp_path: Path) -> None:
    paths = write_result(result_of(labels), b"", tmp_path, "cells", "objects, labels,objects")
    assert paths == {"objects": tmp_path / "cells.json", "labels": tmp_path / "cells.labels.png"}
    assert set(tmp_path.iterdir()) == set(paths.values())


def test_an_unknown_format_is_an_error_that_names_the_known_ones() -> None:
    with pytest.raises(UnknownFormat, match="unknown format 'geo'; known formats: labels, objects, table, geojson"):
        select("labels,geo")


def test_a_format_knows_the_media_type_of_what_it_writes(labels: NDArray[np.int32]) -> None:
    media_types = {name: one.media_type(result_of(labels)) for name, one in FORMATS.items()}
    assert media_types == {
        "labels": "image/png",
        "objects": "application/json",
        "table": "text/csv",
        "geojson": "application/geo+json",
        "coco": "application/json",
        "yolo": "text/plain",
        "imagej": "application/zip",
        "ome-tiff": "image/tiff",
        "ome-zarr": "application/zip",
        "overlay": "image/png",
    }


def npy(array: NDArray[Any]) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


@pytest.fixture
def planes(labels: NDArray[np.int32]) -> NDArray[np.int32]:
    return np.stack([labels, np.zeros_like(labels), labels[::-1]])


@pytest.mark.parametrize("factor", [1, 40_000])
def test_labels_of_a_stack_are_read_back_from_their_pages(planes: NDArray[np.int32], factor: int) -> None:
    result = stack_result(planes)
    result = replace(result, label_file=encode_stack(planes * factor, "Z", (3,), (20, 30), 2 * factor))
    assert result.labels.dtype == np.int32 and np.array_equal(result.labels, planes * factor)
    assert [np.array_equal(page, plane) for page, plane in zip(result.label_planes(), result.labels, strict=True)]


def test_axes_of_any_name_are_in_the_label_file(planes: NDArray[np.int32]) -> None:
    four = np.concatenate([planes, planes[:1]])
    for axes, shape in {"Z": (4,), "T": (4,), "I": (4,), "TZ": (2, 2), "ZT": (2, 2), "ITZ": (1, 2, 2)}.items():
        file = encode_stack(four, axes, shape, (20, 30), 2)
        with tifffile.TiffFile(io.BytesIO(file)) as tiff:
            assert tiff.series[0].axes == f"{axes}YX"
            assert np.array_equal(tiff.asarray().reshape(four.shape), four)


def test_a_stack_of_the_default_formats_also_gets_a_table(planes: NDArray[np.int32], tmp_path: Path) -> None:
    image = npy(np.zeros((9, 20, 30), np.uint8))
    paths = write_result(stack_result(planes), image, tmp_path, "cells", "labels,objects,overlay")
    assert [path.name for path in paths.values()] == [
        "cells.labels.tif",
        "cells.json",
        "cells.overlay.tif",
        "cells.csv",
    ]
    assert (tmp_path / "cells.csv").read_text().splitlines()[:3] == [
        "plane,id,score,x,y,area,left,top,width,height",
        "3,1,0.75,6.0,3.5,28,3,2,7,4",
        "3,2,0.75,24.5,12.0,50,20,10,10,5",
    ]
    document = json.loads((tmp_path / "cells.json").read_text())
    assert (document["axes"], document["shape"], document["planes"]) == ("ZYX", [3], [3, 4, 5])
    assert [item["plane"] for item in document["objects"]] == [3, 3, 5, 5]
    assert write_result(stack_result(planes), b"", tmp_path, "cells", "labels").keys() == {"labels"}


def test_the_overlay_of_a_stack_draws_each_chosen_plane(planes: NDArray[np.int32], tmp_path: Path) -> None:
    image = np.zeros((9, 20, 30), np.uint8)
    image[2:5, 0, 0] = 255
    path = write_result(stack_result(planes), npy(image), tmp_path, "cells", "overlay")["overlay"]
    drawn = tifffile.imread(path)
    assert drawn.shape == (3, 20, 30, 3) and (drawn[:, 0, 0] == 255).all()
    coloured = (drawn != drawn[..., :1]).any(axis=3)
    assert np.array_equal(coloured, planes > 0)


def test_the_table_of_an_image_has_no_plane(labels: NDArray[np.int32], tmp_path: Path) -> None:
    path = write_result(result_of(labels), b"", tmp_path, "cells", "table")["table"]
    assert path.read_text().splitlines()[1] == ",1,0.75,6.0,3.5,28,3,2,7,4"


def test_an_object_that_goes_through_planes_counts_once(planes: NDArray[np.int32]) -> None:
    assert stack_result(planes).count == 4
    assert stack_result(planes, link=True).count == 2


def test_the_summary_has_counts_and_the_reasons_of_failures(tmp_path: Path) -> None:
    summary = Summary(images=5, done=3, objects=70, seconds=2.0)
    summary.add_failure(Path("in/bad.png"), "NotAnImage", "bad.png: not an image")
    document: dict[str, Any] = json.loads(summary.write(tmp_path / "new").read_text())
    assert document == {
        "images": 5,
        "done": 3,
        "objects": 70,
        "failed": 1,
        "failures": [{"image": "in/bad.png", "type": "NotAnImage", "message": "bad.png: not an image"}],
        "seconds": 2.0,
        "images_per_second": 2.0,
    }


def test_the_speed_of_a_run_that_was_stopped_at_once_is_0() -> None:
    assert Summary(images=3).images_per_second == 0
