"""`maskq models` prints text that looks like markup unchanged."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from maskq.cli import models
from maskq.cli.terminal import PrintableConsole
from maskq.segmentation.models.spec import ModelSpec, write_model
from tests.checkpoints import checkpoint, published

WORDS = ("[neven et al.]", "[/b]", "[bold]x")


@pytest.fixture(autouse=True)
def _wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "stdout", PrintableConsole(width=400))


@pytest.mark.parametrize("words", WORDS)
def test_brackets_are_shown_as_they_are(
    words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = ModelSpec(name="cells", summary=f"by {words}", trained_on=f"on {words}", licence=f"(c) {words}")
    folder = tmp_path / words
    write_model(folder / "cells", spec, b"weights")
    (folder / "worms").mkdir()
    (folder / "worms" / "model.toml").write_text(f'name = "worms"\nchannels = "{words}"\n')
    monkeypatch.setenv("MASKQ_MODELS", str(folder))
    commands: tuple[Callable[[], object], ...] = (models.list_, lambda: models.show("cells"))
    for command in commands:
        command()
        shown = capsys.readouterr().out
        assert all(text in shown for text in (f"by {words}", f"on {words}", f"(c) {words}"))
    models.check([words, str(folder / "cells")])
    shown = capsys.readouterr().out
    assert f"{words}: no model" in shown and f"{folder}/cells: " in shown


def test_an_import_into_a_folder_with_brackets_names_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "best.pth").write_bytes(checkpoint(published(1, 2)))
    out = tmp_path / "[neven]"
    assert models.import_(tmp_path / "best.pth", "cells", out) == 0
    captured = capsys.readouterr()
    assert f"MASKQ_MODELS={out}" in captured.err.replace("\n", "") and "whole, and runs" in captured.out
