"""What `maskq models` prints: every word of a model's, also those that look like markup."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console

from maskq.cli import importing, models
from maskq.segmentation.models.spec import ModelSpec, write
from tests.checkpoints import checkpoint, published

WORDS = ("[neven et al.]", "[/b]", "[bold]x")


@pytest.fixture(autouse=True)
def _wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "console", Console(width=400))


@pytest.mark.parametrize("words", WORDS)
def test_brackets_are_shown_as_they_are(words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec = ModelSpec(name="cells", summary=f"by {words}", trained_on=f"on {words}", licence=f"(c) {words}")
    folder = tmp_path / words
    write(folder / "cells", spec, b"weights")
    (folder / "worms").mkdir()
    (folder / "worms" / "model.toml").write_text(f'name = "worms"\nchannels = "{words}"\n')
    for command in (lambda: models.list_([str(folder)], False), lambda: models.show("cells", [str(folder)], False)):
        command()
        shown = capsys.readouterr().out
        assert all(said in shown for said in (f"by {words}", f"on {words}", f"(c) {words}"))
    models.check([words, str(folder / "cells")], [str(folder)], False)
    shown = capsys.readouterr().out
    assert f"{words}: no model" in shown and f"{folder}/cells: " in shown


def test_an_import_into_a_folder_with_brackets_names_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "best.pth").write_bytes(checkpoint(published(1, 2)))
    out = tmp_path / "[neven]"
    assert importing.import_(tmp_path / "best.pth", out, {"name": "cells", "version": 1}) == 0
    captured = capsys.readouterr()
    assert f"MASKQ_MODELS={out}" in captured.err.replace("\n", "") and "whole, and runs" in captured.out
