"""`maskq evaluate`, run as a process: scores, pictures of errors, and tuning of parameters."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from maskq.segmentation.models.registry import SHIPPED, find
from tests.acceptance.pictures import ten_pieces
from tests.acceptance.processes import maskq


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five labelled images without an index."""
    folder = tmp_path_factory.mktemp("data")
    (folder / "labels").mkdir()
    for n, (path, truth) in enumerate(ten_pieces(folder / "images")):
        if n % 2:
            path.unlink()
        else:
            Image.fromarray(truth.astype(np.uint16)).save(folder / "labels" / f"{path.stem}.png")
    return folder


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A folder with a copy of the shipped model that has bad parameters, and a `split.csv` of the data."""
    shutil.copytree(SHIPPED / "nuclei", tmp_path / "models" / "nuclei")
    spec = tmp_path / "models" / "nuclei" / "model.toml"
    fields = tomllib.loads(spec.read_text())
    text = spec.read_text().replace(f"seed_threshold = {fields['seed_threshold']}", "seed_threshold = 0.999")
    spec.write_text(text.replace(f"min_pixels = {fields['min_pixels']}", "min_pixels = 1200"))
    (spec.parent / "split.csv").write_text("id,split\npiece0,val\npiece2,val\npiece4,train\n")
    return tmp_path / "models"


def test_scores_and_pictures_of_the_worst_images(data: Path, tmp_path: Path) -> None:
    pictures = tmp_path / "pictures"
    done = maskq("evaluate", data, "--json", "--pictures", pictures, "--worst", "2")
    assert done.returncode == 0, done.stderr
    (report,) = map(json.loads, done.stdout.splitlines())
    assert report["method"].startswith("nuclei@") and report["seconds"] > 0
    assert 0.5 < report["map"]["pooled"] < report["ap75"]["pooled"] <= report["ap50"]["pooled"] <= 1
    assert report["ap50"]["per_image"] == pytest.approx(np.mean([i["ap50"] for i in report["images"].values()]))
    assert report["summary"]["truths"] == sum(i["truths"] for i in report["images"].values()) > 100
    assert report["parameters"]["tta"] is False and 0.5 <= report["parameters"]["seed_threshold"] < 1
    worst = [f"{n:02}-{i['name']}-ap50-{i['ap50']:.2f}.png" for n, i in enumerate(report["images"].values(), 1)]
    assert sorted(path.name for path in pictures.iterdir()) == worst[:2]
    aps = [image["ap50"] for image in report["images"].values()]
    assert aps == sorted(aps) and len(aps) == 5
    with Image.open(pictures / worst[0]) as picture:
        assert picture.width > 2.8 * (picture.height - 60)


def test_half_precision_changes_the_scores_and_is_reported(data: Path) -> None:
    full, half = (
        json.loads(maskq("evaluate", data, "--json", *options).stdout) for options in ([], ["--precision", "bf16"])
    )
    assert (full["parameters"]["precision"], half["parameters"]["precision"]) == ("fp32", "bf16")
    assert half["map"] != full["map"]
    assert half["ap50"]["pooled"] == pytest.approx(full["ap50"]["pooled"], abs=0.05)


def test_the_terminal_shows_images_worst_first_and_rates(data: Path) -> None:
    shown = maskq("evaluate", data, "--baseline", "otsu").stdout
    rows = [line.split() for line in shown.splitlines() if line.strip().startswith("piece")]
    images = [(name, float(ap)) for name, ap, *_ in rows]
    assert len(images) == 5 and [ap for _, ap in images] == sorted(ap for _, ap in images)
    assert "panoptic quality at .5" in shown and "otsu: 5 images" in shown and "objects an image" in shown


def test_tuning_improves_bad_parameters_and_stores_them_in_the_model(data: Path, models: Path) -> None:
    spec, env = models / "nuclei" / "model.toml", {"MASKQ_MODELS": str(models)}
    before = tomllib.loads(spec.read_text())
    done = maskq("evaluate", data, "--tune", "--json", env=env)
    assert done.returncode == 0, done.stderr
    (report,) = map(json.loads, done.stdout.splitlines())
    chosen, was = report["tuning"]["after"], report["tuning"]["before"]
    assert (was["seed_threshold"], was["min_pixels"]) == (0.999, 1200) and was["objective"] < 0.3
    assert chosen["objective"] > 0.7 and 0.5 <= chosen["seed_threshold"] < 0.999 and chosen["min_pixels"] < 600
    assert report["ap50"] == chosen["ap50"] and report["ap75"] == chosen["ap75"]
    after = tomllib.loads(spec.read_text())
    changed = {"seed_threshold": chosen["seed_threshold"], "min_pixels": chosen["min_pixels"]}
    assert after == before | changed
    again = json.loads(maskq("evaluate", data, "--json", env=env).stdout)
    assert again["ap50"] == report["ap50"] and again["images"] == report["images"]
    assert again["parameters"] == report["parameters"]


def test_the_documented_copy_of_a_model_is_found_for_tuning(tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "docs" / "thresholds.md").read_text()
    (script,) = re.findall(r"```\n(mkdir .*?)MASKQ_MODELS=models maskq", text, re.DOTALL)
    activated = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    subprocess.run(["sh", "-ec", script], cwd=tmp_path, check=True, timeout=60, env=activated)
    assert find("nuclei", [tmp_path / "models"]) == tmp_path / "models" / "nuclei"


def test_a_model_of_the_package_is_not_tuned(data: Path) -> None:
    spec = SHIPPED / "nuclei" / "model.toml"
    before = spec.read_bytes()
    done = maskq("evaluate", data, "--tune")
    assert done.returncode == 2 and "comes with maskq" in done.stderr and "MASKQ_MODELS" in done.stderr
    assert spec.read_bytes() == before


def test_the_pixel_limit_of_the_settings_applies(data: Path) -> None:
    done = maskq("evaluate", data, "--diameter", "10", env={"MASKQ_MAX_PIXELS": "1000"})
    assert done.returncode == 2 and "over the limit of 1,000 pixels" in done.stderr


def test_parameters_tuned_with_test_time_augmentation_are_not_stored(data: Path, models: Path) -> None:
    spec, env = models / "nuclei" / "model.toml", {"MASKQ_MODELS": str(models)}
    before = spec.read_text()
    done = maskq("evaluate", data, "--split", "val", "--tune", "--tta", env=env)
    assert done.returncode == 0, done.stderr
    assert "not stored" in done.stdout and "before" in done.stdout and spec.read_text() == before


def test_a_split_comes_from_the_given_index_else_from_the_model(data: Path, models: Path, tmp_path: Path) -> None:
    env = {"MASKQ_MODELS": str(models)}
    (tmp_path / "mine.csv").write_text("id,split\npiece6,val\n")
    default = json.loads(maskq("evaluate", data, "--split", "val", "--json", env=env).stdout)
    named = maskq("evaluate", data, "--split", "val", "--index", tmp_path / "mine.csv", "--json", env=env)
    assert sorted(default["images"]) == ["piece0", "piece2"]
    assert sorted(json.loads(named.stdout)["images"]) == ["piece6"]
    (models / "nuclei" / "split.csv").unlink()
    none = maskq("evaluate", data, "--split", "val", env=env)
    assert none.returncode == 2 and "index.csv" in none.stderr


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--baseline", "magic"], "no baseline 'magic'; there is: otsu"),
        (["--device", "abacus"], "no device 'abacus'"),
        (["--precision", "fp8"], "no precision 'fp8'; there are: fp32, bf16, fp16"),
        (["--model", "nonesuch"], "no model 'nonesuch'"),
    ],
)
def test_unknown_names_are_refused_in_one_line(data: Path, arguments: list[str], complaint: str) -> None:
    done = maskq("evaluate", data, *arguments)
    assert done.returncode == 2 and complaint in done.stderr and "Traceback" not in done.stderr


def test_labels_of_another_size_than_their_image_are_refused(data: Path, tmp_path: Path) -> None:
    shutil.copytree(data, tmp_path / "data")
    Image.fromarray(np.zeros((20, 30), np.uint16)).save(tmp_path / "data" / "labels" / "piece4.png")
    done = maskq("evaluate", tmp_path / "data")
    assert done.returncode == 2 and "piece4.png: 20×30 pixels" in done.stderr


def test_a_data_set_as_people_keep_it_gives_the_same_scores(data: Path, tmp_path: Path) -> None:
    (tmp_path / "val").mkdir()
    for path in sorted((data / "images").iterdir()):
        shutil.copy(path, tmp_path / "val" / f"{path.stem}_img{path.suffix}")
        with Image.open(data / "labels" / f"{path.stem}.png") as labels:
            numbers = np.asarray(labels).astype(np.float32)
        tifffile.imwrite(tmp_path / "val" / f"{path.stem}_cp_masks.tif", numbers, imagej=True)
        (tmp_path / "val" / f"{path.stem}.json").write_text("{}")
    shutil.copy(path, tmp_path / "val" / "lone.png")
    plain = json.loads(maskq("evaluate", data, "--json").stdout)
    done = maskq("evaluate", tmp_path, "--split", "validation", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["summary"] == plain["summary"]
    assert "5 files that are no images were passed over (5 .json)" in done.stderr
    assert "1 image has no labels and is left out: lone.png" in done.stderr and len(done.stderr.splitlines()) == 2


def test_masks_of_foreground_are_refused_and_converted_by_the_command_that_is_named(data: Path, tmp_path: Path) -> None:
    shutil.copytree(data / "images", tmp_path / "images")
    (tmp_path / "masks").mkdir()
    for path in (data / "labels").iterdir():
        with Image.open(path) as labels:
            Image.fromarray(np.asarray(labels) > 0).save(tmp_path / "masks" / path.name)
    done = maskq("evaluate", tmp_path)
    assert done.returncode == 2 and "the only number is 1" in done.stderr and "5 of 5" in done.stderr
    (command,) = re.findall(r"maskq (labels .*) --out NEW_FOLDER", done.stderr)
    converted = maskq(*command.split(), "--out", tmp_path / "labels")
    assert converted.returncode == 0 and "5 files, " in converted.stdout, converted.stderr
    assert json.loads(maskq("evaluate", tmp_path, "--json").stdout)["ap50"]["pooled"] > 0.5
    again = maskq(*command.split(), "--out", tmp_path / "labels")
    assert again.returncode == 2 and "exists; choose another folder" in again.stderr


def test_colours_are_converted_and_pictures_are_refused_one_by_one(tmp_path: Path) -> None:
    (tmp_path / "colours").mkdir()
    codes = np.zeros((20, 30, 3), np.uint8)
    codes[2:8, 2:9], codes[10:18, 12:25] = (200, 0, 0), (0, 200, 0)
    Image.fromarray(codes).save(tmp_path / "colours" / "a.png")
    noise = np.random.default_rng(0).integers(0, 256, codes.shape, np.uint8)
    Image.fromarray(noise).save(tmp_path / "colours" / "b.png")
    done = maskq("labels", tmp_path / "colours", "--out", tmp_path / "labels", "--background", "#000000", "--json")
    assert done.returncode == 1 and "b.png: " in done.stderr and "a picture" in done.stderr
    report = json.loads(done.stdout)
    assert (report["objects"], report["values"], report["pieces"]) == (2, 2, 2)
    with Image.open(report["written"]) as labels:
        assert np.asarray(labels).max() == 2 and labels.mode == "I;16"
