"""Formats are found by name or by a file's ending, and say by name what they can't write."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from maskq import FormatNotApplicable, FormatUnavailable, Result, ResultFolder, UnknownFormat
from maskq.producer.formats import result_format
from maskq.producer.formats.registry import FORMATS, find_format, format_of_file
from tests.conftest import png
from tests.results import result_of, stack_result

from .images import example

IMAGE = png(np.zeros((20, 30), np.uint8))
#: The formats that stacks don't have.
FLAT = {"coco", "yolo"}


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_is_saved_and_known_by_its_ending(name: str, tmp_path: Path) -> None:
    one, result = FORMATS[name], result_of(example())
    ending = one.folder_ending or one.ending(result)
    path = result.save(tmp_path / f"new/cells{ending}", image=IMAGE)
    assert format_of_file(path.name) is one
    if one.folder_ending:
        assert path.is_dir()
    else:
        assert path.read_bytes() == result.to(name, image=IMAGE)
    assert [entry.name for entry in (tmp_path / "new").iterdir()] == [path.name]


@pytest.mark.parametrize("name", FORMATS)
def test_a_stack_is_written_in_every_format_that_has_stacks(name: str) -> None:
    stack = stack_result(np.stack([example()] * 3))
    if name in FLAT:
        with pytest.raises(FormatNotApplicable, match=f"the format {name} has no stacks"):
            stack.to(name)
    elif name != "overlay":  # reads the image: see test_result_files.py
        assert len(stack.to(name)) > 100


def test_names_and_endings_that_are_unknown_are_reported_with_the_known_ones() -> None:
    with pytest.raises(UnknownFormat, match="unknown format 'svg'; known formats: labels, objects, table, geojson"):
        find_format("svg")
    with pytest.raises(UnknownFormat, match=r"cells.svg has no ending of a format: name the format, one of labels"):
        format_of_file("cells.svg")


@pytest.mark.parametrize(
    ("file", "name"),
    [("a.JSON", "objects"), ("a.coco.json", "coco"), ("a.ome.tif", "ome-tiff"), ("a.labels.tif", "labels")],
)
def test_the_longest_ending_counts(file: str, name: str) -> None:
    assert format_of_file(file).name == name


def test_a_missing_package_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(
        result_format, "find_spec", lambda name: None if name == "roifile" else importlib.util.find_spec(name)
    )
    message = r'the format imagej needs roifile: pip install "maskq\[formats\]"'
    with pytest.raises(FormatUnavailable, match=message):
        result_of(example()).to("imagej")
    with pytest.raises(FormatUnavailable, match=message):  # before any image is segmented
        ResultFolder(tmp_path, "labels,imagej")


def test_core_formats_need_no_extra() -> None:
    assert {name for name, one in FORMATS.items() if one.packages} == {"imagej", "ome-tiff", "ome-zarr", "overlay"}


def test_a_folder_gets_all_formats_of_a_stack_except_those_that_have_none(tmp_path: Path) -> None:
    stack = stack_result(np.stack([example()] * 2))
    with ResultFolder(tmp_path, "geojson,coco,table") as files:
        paths, refusal = files.write_possible(stack, name="cells")
    assert paths == {"geojson": tmp_path / "cells.geojson", "table": tmp_path / "cells.csv"}
    assert "the format coco has no stacks" in str(refusal)


def test_a_failed_write_keeps_the_file_that_was_there(tmp_path: Path) -> None:
    path = tmp_path / "cells.rois.zip"
    path.write_bytes(b"old")
    with pytest.raises(FormatNotApplicable):
        result_of(np.ones((1, 40_000), np.int32)).save(path)
    assert path.read_bytes() == b"old" and [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_files_are_named_as_the_images_each_once(tmp_path: Path) -> None:
    def named(name: str) -> Result:
        one = result_of(example())
        return replace(one, job=one.job.model_copy(update={"spec": one.job.spec.model_copy(update={"name": name})}))

    names = ["a/cells.png", "b\\cells.tif", "cells-2.png", "cells.png", "..", ""]
    with ResultFolder(tmp_path, "table") as files:
        paths = [files.write(named(name))["table"].name for name in names]
    assert paths == ["cells.csv", "cells-2.csv", "cells-2-2.csv", "cells-3.csv", "...csv", "image.csv"]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(paths)
