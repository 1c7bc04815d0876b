"""COCO data sets, read with pycocotools."""

from __future__ import annotations

import contextlib
import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from numpy.typing import NDArray
from pycocotools.coco import COCO

from maskq import FormatNotApplicable, Result
from maskq.producer.formats.folder import ResultFolder
from tests.results import result_of, stack_result

from .images import LABELS, example

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword")


def loaded(path: Path) -> COCO:
    with contextlib.redirect_stdout(io.StringIO()):
        return COCO(str(path))


def drawn(coco: COCO, image: int) -> NDArray[np.int32]:
    """The image's labels: its annotations in their order, numbered as the objects."""
    entry = coco.loadImgs(image)[0]
    labels = np.zeros((entry["height"], entry["width"]), np.int32)
    for number, annotation in enumerate(coco.loadAnns(coco.getAnnIds(imgIds=image)), start=1):
        mask = coco.annToMask(annotation).astype(bool)
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        box = [columns[0], rows[0], np.ptp(columns) + 1, np.ptp(rows) + 1]
        assert annotation["area"] == mask.sum() and annotation["bbox"] == box and not labels[mask].any()
        labels[mask] = number
    return labels


def numbered(labels: NDArray[np.int32]) -> NDArray[np.int32]:
    """The labels without gaps in their numbers."""
    return np.searchsorted(np.unique(np.append(labels, 0)), labels).astype(np.int32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("coco")


@given(labels=LABELS)
@settings(max_examples=50, deadline=None)
def test_any_labels_are_given_again(labels: NDArray[np.int32], folder: Path) -> None:
    coco = loaded(result_of(labels).save(folder / "one.coco.json"))
    assert np.array_equal(drawn(coco, 1), numbered(labels))


def named(labels: NDArray[np.int32], name: str, model: str = "nuclei@1") -> Result:
    one = result_of(labels)
    return replace(
        one, model=model, job=one.job.model_copy(update={"spec": one.job.spec.model_copy(update={"name": name})})
    )


def test_a_run_gives_one_data_set_of_all_images(tmp_path: Path) -> None:
    images = [example(), np.zeros((4, 5), np.int32), example()[::-1], example()[:, ::-1]]
    models = ["nuclei@1", "nuclei@1", "phase-contrast@2", "nuclei@2"]
    with ResultFolder(tmp_path, "coco") as files:
        for number, (labels, model) in enumerate(zip(images, models, strict=True)):
            paths, refusal = files.write_possible(named(labels, f"folder/{number}.tif", model), name=str(number))
            assert (paths, refusal) == ({"coco": tmp_path / "coco.json"}, None)
    assert [path.name for path in tmp_path.iterdir()] == ["coco.json"]
    coco = loaded(tmp_path / "coco.json")
    assert [coco.imgs[number]["file_name"] for number in range(1, 5)] == ["0.tif", "1.tif", "2.tif", "3.tif"]
    assert sorted(coco.anns) == list(range(1, 16))
    assert [(entry["id"], entry["name"]) for entry in coco.loadCats(coco.getCatIds())] == [
        (1, "nuclei"),
        (2, "phase-contrast"),
    ]
    assert {coco.anns[number]["category_id"] for number in coco.getAnnIds(imgIds=3)} == {2}
    for number, labels in enumerate(images, start=1):
        assert np.array_equal(drawn(coco, number), labels)


@pytest.mark.parametrize("images", [0, 1])
def test_a_data_set_without_objects_is_valid(images: int, tmp_path: Path) -> None:
    with ResultFolder(tmp_path, "coco") as files:
        for _ in range(images):
            files.write_possible(result_of(np.zeros((3, 4), np.int32)), name="a")
    coco = loaded(tmp_path / "coco.json")
    assert (len(coco.imgs), len(coco.anns)) == (images, 0)
    assert json.loads((tmp_path / "coco.json").read_bytes()).keys() == {
        "info",
        "licenses",
        "images",
        "annotations",
        "categories",
    }


def test_a_stack_is_refused_by_name() -> None:
    stack = stack_result(np.stack([example()] * 2))
    with pytest.raises(FormatNotApplicable, match="the format coco has no stacks, and cells.npy is one"):
        stack.to("coco")
