"""`maskq run` and `maskq result` print what was done to the values of images, each note once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from maskq.cli.notes import Notes
from maskq.cli.run_output import RunOutput
from maskq.producer.client.job import Result
from maskq.producer.client.paths import ImagePath
from maskq.producer.formats.folder import ResultFolder
from tests.results import result_of

TURNED = "The TIFF is WhiteIsZero: its values were turned round."


def result(*notes: str, channels: str = "grey", objects: int = 1) -> Result:
    labels = np.zeros((4, 4), np.int32)
    labels[0, 0] = objects
    return replace(result_of(labels), notes=notes, channels=(channels,))


def test_a_note_is_one_line_however_many_images_have_it() -> None:
    notes = Notes()
    for number in range(12):
        notes.add(f"{number}.tif", result(TURNED))
    notes.add("b.tif", result("3 of 16 pixels are NaN or infinite: background."))
    assert notes.lines() == [f"12 images: {TURNED}", "b.tif: 3 of 16 pixels are NaN or infinite: background."]


def test_notes_that_differ_in_their_numbers_are_one_line() -> None:
    notes = Notes()
    notes.add("a.tif", result("1,203 of 4 pixels are NaN."))
    notes.add("b.tif", result("7 of 4 pixels are NaN."))
    assert notes.lines() == ["2 images, such as a.tif: 1,203 of 4 pixels are NaN."]


@pytest.mark.parametrize(
    ("channels", "objects", "hints"), [("RGB as luminance", 0, 1), ("RGB as luminance", 1, 0), ("grey", 0, 0)]
)
def test_a_colour_image_without_objects_has_a_hint(channels: str, objects: int, hints: int) -> None:
    notes = Notes()
    notes.add("a.png", result(channels=channels, objects=objects))
    assert len(notes.lines()) == hints
    assert all("--channels red, green or blue" in line for line in notes.lines())


def test_there_are_few_lines() -> None:
    notes = Notes()
    for letter in "abcdefghijklmnop":
        notes.add("[red].tif", result(f"Note {letter}."))
    assert len(notes.lines()) == 13 and notes.lines()[-1].startswith("4 more")
    assert notes.lines()[0] == "[red].tif: Note a."


@pytest.mark.parametrize("as_json", [False, True])
def test_a_run_prints_notes_once_at_its_end(tmp_path: Path, capsys: pytest.CaptureFixture[str], as_json: bool) -> None:
    images: list[ImagePath] = [tmp_path / "a.tif", tmp_path / "b.tif"]
    output = RunOutput(images, tmp_path / "out", ResultFolder(tmp_path / "out", "labels"), as_json)
    with output:
        for image in images:
            output.add(image, result(TURNED), lambda: b"")
    assert output.finish(interrupted=False) == 0
    assert capsys.readouterr().err.count(f"2 images: {TURNED}") == (not as_json)
