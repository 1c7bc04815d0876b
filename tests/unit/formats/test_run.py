"""What `maskq run` writes and says about formats."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from maskq.cli.run_output import RunOutput
from maskq.producer.client.paths import ImagePath
from maskq.producer.formats.folder import ResultFolder
from tests.results import result_of, stack_result

from .images import example


def test_a_stack_that_a_format_lacks_is_a_failure_and_has_its_other_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images: list[ImagePath] = [Path("a.png"), Path("b.npy")]
    output = RunOutput(images, tmp_path, ResultFolder(tmp_path, "coco,geojson"), as_json=True)
    with output:
        output.add(images[0], result_of(example()), lambda: b"")
        output.add(images[1], stack_result(np.stack([example()] * 2)), lambda: b"")
    assert output.finish(interrupted=False) == 1
    first, second, summary = map(json.loads, capsys.readouterr().out.splitlines())
    assert first["files"] == {"coco": str(tmp_path / "coco.json"), "geojson": str(tmp_path / "a.geojson")}
    assert second["files"] == {"geojson": str(tmp_path / "b.geojson")}
    assert second["error"]["type"] == summary["failures"][0]["type"] == "FormatNotApplicable"
    assert (summary["done"], summary["failed"]) == (2, 1)
    assert len(json.loads((tmp_path / "coco.json").read_bytes())["annotations"]) == 5


def test_an_interrupted_run_leaves_a_valid_data_set(tmp_path: Path) -> None:
    images: list[ImagePath] = [Path("a.png"), Path("b.png")]
    output = RunOutput(images, tmp_path, ResultFolder(tmp_path, "coco"), as_json=True)
    with pytest.raises(KeyboardInterrupt), output:
        output.add(images[0], result_of(example()), lambda: b"")
        raise KeyboardInterrupt
    assert output.finish(interrupted=True) == 130
    assert [image["id"] for image in json.loads((tmp_path / "coco.json").read_bytes())["images"]] == [1]
