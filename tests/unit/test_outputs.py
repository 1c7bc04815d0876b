"""The files that a finished job leaves in a folder."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

from maskq import JobStatus, MaskObject, Result, State
from maskq.cli.result_files import Summary, write_result
from maskq.producer.schema import JobSpec, Rle
from maskq.segmentation.errors import NotAnImage
from maskq.segmentation.labels import encode
from maskq.segmentation.objects import describe as objects_of
from tests.conftest import png


def result_of(labels: NDArray[np.int32], described: bool = True) -> Result:
    times = {State.QUEUED: 1.0, State.EMBEDDING: 2.0, State.EMBEDDED: 4.0, State.CLUSTERING: 7.0, State.DONE: 11.0}
    job = JobStatus(id="j1", state=State.DONE, spec=JobSpec(name="cells.png"), lane="varied", times=times, attempts={})
    objects = tuple(
        MaskObject(
            id=o.id, score=o.score, bbox=o.bbox, area=o.area, centroid=o.centroid, rle=Rle(size=o.size, counts=o.rle)
        )
        for o in (objects_of(labels, [0.75] * int(labels.max())) if described else [])
    )
    return Result(job, (labels.shape[0], labels.shape[1]), "nuclei@1", objects, encode(labels))


@pytest.fixture
def labels() -> NDArray[np.int32]:
    found = np.zeros((20, 30), np.int32)
    found[2:6, 3:10] = 1
    found[10:15, 20:30] = 2
    return found


def test_labels_are_a_16_bit_png_that_anything_reads(labels: NDArray[np.int32], tmp_path: Path) -> None:
    write_result(result_of(labels), png(np.zeros((20, 30), np.uint8)), tmp_path / "new", "cells")
    with Image.open(tmp_path / "new/cells.labels.png") as image:
        assert image.mode == "I;16"
        assert np.array_equal(np.asarray(image), labels)


@pytest.mark.parametrize("shape", [(1, 1), (3, 1_000_000), (1_000_001, 2)])
def test_labels_of_any_shape_are_read_as_they_were(shape: tuple[int, int]) -> None:
    labels = np.zeros(shape, np.int32)
    labels[-1, -1] = 65_535
    labels[0, 0] = 1
    with PngImagePlugin.PngImageFile(io.BytesIO(encode(labels))) as image:
        assert np.array_equal(np.asarray(image), labels)


@pytest.mark.parametrize("labels", [np.random.default_rng(0).permutation(50_000), np.arange(30_000)])
def test_labels_that_do_not_compress_and_lie_in_any_order_are_read_as_they_were(labels: NDArray[np.int64]) -> None:
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


def test_the_json_says_what_and_how_and_lists_the_objects(labels: NDArray[np.int32], tmp_path: Path) -> None:
    write_result(result_of(labels), png(np.zeros((20, 30), np.uint8)), tmp_path, "cells")
    said = json.loads((tmp_path / "cells.json").read_text())
    one, two = said.pop("objects")
    assert said == {
        "image": "cells.png",
        "job_id": "j1",
        "height": 20,
        "width": 30,
        "model": "nuclei@1",
        "timings": {"queued": 1, "embedding": 2, "embedded": 3, "clustering": 4, "total": 10},
    }
    assert one.keys() == {"id", "score", "bbox", "area", "centroid", "rle"}
    assert (one["id"], one["bbox"], one["area"], one["centroid"]) == (1, [3, 2, 7, 4], 28, [6.0, 3.5])
    assert (two["id"], two["score"], two["rle"]["size"]) == (2, 0.75, [20, 30])


def test_the_overlay_is_the_image_in_colour_with_the_objects_on_it(labels: NDArray[np.int32], tmp_path: Path) -> None:
    path = write_result(result_of(labels), png(np.zeros((20, 30), np.uint8)), tmp_path, "cells")
    assert path == tmp_path / "cells.overlay.png"
    with Image.open(path) as image:
        drawn = np.asarray(image.convert("RGB"))
    assert drawn.shape == (20, 30, 3)
    assert drawn[2:6, 3:10].any()
    assert not drawn[8, 15].any()


def test_what_cant_be_drawn_leaves_no_half_files(labels: NDArray[np.int32], tmp_path: Path) -> None:
    with pytest.raises(NotAnImage, match="cells"):
        write_result(result_of(labels), b"the original is lost", tmp_path, "cells")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cells.json", "cells.labels.png"]


def test_the_labels_of_a_huge_image_are_no_decompression_bomb(
    labels: NDArray[np.int32], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    assert np.array_equal(result_of(labels).labels, labels)


def test_the_summary_counts_and_gives_reasons(tmp_path: Path) -> None:
    summary = Summary(images=5, done=3, objects=70, seconds=2.0)
    summary.add_failure(Path("in/bad.png"), "NotAnImage", "bad.png: not an image")
    said: dict[str, Any] = json.loads(summary.write(tmp_path / "new").read_text())
    assert said == {
        "images": 5,
        "done": 3,
        "objects": 70,
        "failed": 1,
        "failures": [{"image": "in/bad.png", "type": "NotAnImage", "message": "bad.png: not an image"}],
        "seconds": 2.0,
        "images_per_second": 2.0,
    }


def test_a_run_that_was_stopped_at_once_divides_by_nothing() -> None:
    assert Summary(images=3).images_per_second == 0
