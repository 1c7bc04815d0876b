"""`maskq models`, `train` and `evaluate`, on small data."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from tests.acceptance.pictures import ten_pieces
from tests.acceptance.processes import maskq


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A data set of ten labelled pieces, seven of them in split `train`."""
    folder = tmp_path_factory.mktemp("data")
    (folder / "labels").mkdir()
    rows = ["id,split"]
    for n, (path, truth) in enumerate(ten_pieces(folder / "images")):
        Image.fromarray(truth.astype(np.uint16)).save(folder / "labels" / f"{path.stem}.png")
        rows.append(f"{path.stem},{'train' if n < 7 else 'val'}")
    (folder / "index.csv").write_text("\n".join(rows))
    return folder


def test_the_shipped_model_is_listed_with_its_licence_and_data():
    (spec,) = (json.loads(line) for line in maskq("models", "--json").stdout.splitlines())
    assert spec["name"] == "nuclei" and spec["licence"] and spec["trained_on"] and len(spec["sha256"]) == 64


def test_evaluate_sets_the_model_and_otsu_side_by_side(data):
    done = maskq("evaluate", data, "--split", "val", "--baseline", "otsu", "--json")
    assert done.returncode == 0, done.stderr
    model, otsu = (json.loads(line) for line in done.stdout.splitlines())
    assert model["method"].startswith("nuclei@") and otsu["method"] == "otsu"
    for found in (model, otsu):
        assert found["summary"]["images"] == 3
        assert len(found["summary"]["pooled"]) == len(found["summary"]["mean"]) == 10
    assert model["summary"]["mean"][0]["ap"] > 0.7


def test_evaluate_shows_people_a_table(data):
    shown = maskq("evaluate", data, "--split", "val", "--baseline", "otsu").stdout
    assert "0.50" in shown and "0.95" in shown and "per image" in shown and "otsu" in shown


def test_a_trained_model_is_a_folder_that_every_command_takes(data, tmp_path):
    trained = maskq("train", data, "--split", "train", "--model", "tiny", "--out", tmp_path, "--steps", "2")
    assert trained.returncode == 0, trained.stderr
    env = {"MASKQ_MODELS": str(tmp_path)}
    names = [json.loads(line)["name"] for line in maskq("models", "--json", env=env).stdout.splitlines()]
    assert names == ["nuclei", "tiny"]
    assert maskq("evaluate", data, "--model", "tiny", "--split", "val", "--json", env=env).returncode == 0


def test_what_is_no_data_set_is_told(tmp_path):
    done = maskq("evaluate", tmp_path)
    assert done.returncode == 2 and "needs the folders images/ and labels/" in done.stderr
