"""One zip of many results holds what a folder would, and is made one result at a time."""

from __future__ import annotations

import io
import json
import tempfile
import tracemalloc
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from pycocotools.coco import COCO

from maskq import FormatUnavailable, ResultNotReady
from maskq.producer.formats import result_format
from maskq.producer.formats.batch import Item, zip_results
from maskq.producer.formats.folder import ResultFolder
from tests.results import result_of, stack_result

from .images import example

FORMATS = "labels,geojson,coco,yolo,imagej,ome-zarr"


def unpacked(items: list[Item], folder: Path, formats: str) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(b"".join(zip_results(items, formats)))) as archive:
        assert archive.testzip() is None
        archive.extractall(folder)
    return files_of(folder)


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_zip_has_the_files_of_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results = {"a": result_of(example()), "b": result_of(example()[::-1])}
    with ResultFolder(tmp_path / "folder", FORMATS) as files:
        for name, result in results.items():
            files.write_possible(result, name=name)
    zipped = unpacked([(name, (result, b"")) for name, result in results.items()], tmp_path / "zip", FORMATS)
    assert json.loads(zipped.pop("summary.json")) == {"results": 2, "failures": []}
    assert zipped == files_of(tmp_path / "folder")
    assert len(COCO(str(tmp_path / "zip" / "coco.json")).anns) == 10


def test_what_is_missing_is_listed(tmp_path: Path) -> None:
    items: list[Item] = [
        ("a", ResultNotReady("job a is queued; wait for it")),
        ("b", (stack_result(np.stack([example()] * 2)), b"")),
    ]
    zipped = unpacked(items, tmp_path, "coco,table")
    assert zipped.keys() == {"b.csv", "coco.json", "summary.json"}
    summary = json.loads(zipped["summary.json"])
    assert summary["results"] == 1
    assert [(failure["name"], failure["type"]) for failure in summary["failures"]] == [
        ("a", "ResultNotReady"),
        ("b", "FormatNotApplicable"),
    ]


def test_memory_and_disk_do_not_grow_with_the_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    labels = np.random.default_rng(0).permutation(200 * 200).astype(np.int32).reshape(200, 200)
    result = result_of(labels, described=False)
    on_disk = []

    def items(count: int) -> Iterator[Item]:
        for number in range(count):
            on_disk.append(len(files_of(tmp_path)))
            yield f"{number:05}", (result, b"")

    peaks, sizes = [], []
    for count in (20, 200):
        tracemalloc.start()
        sizes.append(sum(len(piece) for piece in zip_results(items(count), "labels,coco")))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    # The interpreter's table of interned names may double meanwhile, which takes 4 MB.
    assert sizes[1] > 12_000_000 and peaks[1] - peaks[0] < 6_000_000
    assert max(on_disk) == 0 and not list(tmp_path.iterdir())


def test_a_missing_package_is_reported_before_the_first_byte(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(result_format, "find_spec", lambda _: None)
    with pytest.raises(FormatUnavailable):
        zip_results([], "imagej")


def test_a_machine_without_a_folder_to_write_to_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> str:
        raise FileNotFoundError("No usable temporary directory found")

    monkeypatch.setattr(tempfile, "gettempdir", none)
    with pytest.raises(FormatUnavailable, match="set TMPDIR"):
        zip_results([], "labels")
    assert result_of(example()).to("ome-zarr") and result_of(example()).to("imagej")
