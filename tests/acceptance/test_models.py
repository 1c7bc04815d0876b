"""The commands `maskq models`, `train` and `evaluate`, run as processes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from maskq.segmentation.models.registry import SHIPPED
from tests.acceptance.pictures import ten_pieces
from tests.acceptance.processes import maskq
from tests.checkpoints import checkpoint, published

NUCLEI = "nuclei@3"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of ten labelled images: seven in split `train`, three in `val`."""
    folder = tmp_path_factory.mktemp("data")
    (folder / "labels").mkdir()
    rows = ["id,split"]
    for n, (path, truth) in enumerate(ten_pieces(folder / "images")):
        Image.fromarray(truth.astype(np.uint16)).save(folder / "labels" / f"{path.stem}.png")
        rows.append(f"{path.stem},{'train' if n < 7 else 'val'}")
    (folder / "index.csv").write_text("\n".join(rows))
    return folder


def test_the_shipped_models_are_listed_with_their_licence_and_data() -> None:
    specs = [json.loads(line) for line in maskq("models", "--json").stdout.splitlines()]
    assert [spec["name"] for spec in specs] == ["nuclei", "phase-contrast"]
    assert all(spec["licence"] and spec["trained_on"] and len(spec["sha256"]) == 64 for spec in specs)


def test_evaluate_scores_the_model_and_the_otsu_baseline(data: Path) -> None:
    done = maskq("evaluate", data, "--split", "val", "--baseline", "otsu", "--json")
    assert done.returncode == 0, done.stderr
    model, otsu = (json.loads(line) for line in done.stdout.splitlines())
    assert model["method"].startswith("nuclei@") and otsu["method"] == "otsu"
    for result in (model, otsu):
        assert result["summary"]["images"] == 3
        assert len(result["summary"]["pooled"]) == len(result["summary"]["mean"]) == 10
    assert model["summary"]["mean"][0]["ap"] > 0.7


def test_evaluate_prints_a_table(data: Path) -> None:
    shown = maskq("evaluate", data, "--split", "val", "--baseline", "otsu").stdout
    assert "0.50" in shown and "0.95" in shown and "per image" in shown and "otsu" in shown


def test_a_trained_model_is_found_by_all_commands(data: Path, tmp_path: Path) -> None:
    trained = maskq("train", data, "--model", "tiny", "--out", tmp_path, "--steps", "2")
    assert trained.returncode == 0, trained.stderr
    env = {"MASKQ_MODELS": str(tmp_path)}
    names = [json.loads(line)["name"] for line in maskq("models", "--json", env=env).stdout.splitlines()]
    assert names == ["nuclei", "phase-contrast", "tiny"]
    assert maskq("evaluate", data, "--model", "tiny", "--split", "val", "--json", env=env).returncode == 0


def test_a_folder_that_is_no_data_set_is_refused(tmp_path: Path) -> None:
    done = maskq("evaluate", tmp_path)
    assert done.returncode == 2 and "needs the folders images/ and labels/" in done.stderr


# Models


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a published checkpoint, imported as `streets@2`."""
    folder = tmp_path_factory.mktemp("models")
    (folder / "best.pth").write_bytes(checkpoint(published(3, 1)))
    options = ("--version", "2", "--min-pixels", "128", "--licence", "CC-BY-NC-4.0", "--trained-on", "streets")
    done = maskq("models", "import", folder / "best.pth", "--model", "streets", "--out", folder, *options)
    assert done.returncode == 0, done.stderr
    return folder


def lines(*arguments: str, env: dict[str, str]) -> list[dict[str, Any]]:
    """The objects that a command prints with `--json`."""
    return [json.loads(line) for line in maskq(*arguments, "--json", env=env).stdout.splitlines()]


def test_an_imported_model_is_shown_with_its_spec(imported: Path) -> None:
    env = {"MASKQ_MODELS": f"file://{imported}"}
    (spec,) = lines("models", "show", "streets", env=env)
    assert (spec["version"], spec["channels"], spec["normalisation"], spec["unit"]) == (2, "rgb", "unit", 1023)
    assert (spec["bandwidths"], spec["min_pixels"], spec["licence"]) == (1, 128, "CC-BY-NC-4.0")
    assert spec["source"].startswith("best.pth, sha256 ") and spec["folder"] == f"{imported}/streets/2"
    shown = maskq("models", "show", "streets@2", env=env).stdout
    assert "streets@2" in shown and "CC-BY-NC-4.0" in shown


def test_the_shipped_model_is_shown_with_its_card() -> None:
    assert "Where it fails." in maskq("models", "show", "nuclei").stdout


def test_importing_an_existing_version_is_refused(imported: Path) -> None:
    again = maskq("models", "import", imported / "best.pth", "-m", "streets", "-o", imported, "--version", "2")
    assert again.returncode == 2 and "there is a model already" in again.stderr


def test_a_file_that_is_no_checkpoint_is_not_imported(tmp_path: Path) -> None:
    (tmp_path / "notes.pth").write_text("Dear Sir or Madam")
    done = maskq("models", "import", tmp_path / "notes.pth", "-m", "notes", "-o", tmp_path)
    assert done.returncode == 2 and "maskq: not a checkpoint" in done.stderr and not (tmp_path / "notes").exists()


def test_a_broken_model_is_listed_as_broken_and_only_check_fails(imported: Path, tmp_path: Path) -> None:
    (tmp_path / "streets").symlink_to(imported / "streets")
    (tmp_path / "cells").mkdir()
    (tmp_path / "cells" / "model.toml").write_text("name = ")
    env = {"MASKQ_MODELS": str(tmp_path)}
    listed = maskq("models", env=env)
    assert listed.returncode == 0 and "broken" in listed.stdout and NUCLEI in listed.stdout
    assert [(model["name"], "broken" in model) for model in lines("models", "list", env=env)] == [
        ("cells", True),
        ("nuclei", False),
        ("phase-contrast", False),
        ("streets", False),
    ]
    checked = maskq("models", "check", "--json", env=env)
    assert checked.returncode == 1
    results = {check["model"]: check["ok"] for check in map(json.loads, checked.stdout.splitlines())}
    assert results == {"cells": False, NUCLEI: True, "phase-contrast@1": True, "streets@2": True}


def test_check_accepts_names_and_folders_and_finds_damaged_weights(tmp_path: Path) -> None:
    (tmp_path / "nuclei").mkdir()
    for file in (SHIPPED / "nuclei").iterdir():
        (tmp_path / "nuclei" / file.name).write_bytes(file.read_bytes())
    assert maskq("models", "check", NUCLEI, tmp_path / "nuclei").returncode == 0
    with (tmp_path / "nuclei" / "weights.safetensors").open("ab") as weights:
        weights.write(b" ")
    damaged = maskq("models", "check", "nuclei", tmp_path / "nuclei", "unicorns")
    assert damaged.returncode == 1
    assert f"{NUCLEI}: whole, and runs" in damaged.stdout
    assert "its sha256 is" in damaged.stdout and "no model 'unicorns'" in damaged.stdout
