"""`maskq train`, run as a process: it creates a model, resumes after a stop, and explains invalid input."""

from __future__ import annotations

import csv
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.acceptance.processes import maskq, start

ONE_THREAD = {"OMP_NUM_THREADS": "1"}
STEPS = ["--steps", "12", "--every", "4", "--batch", "2", "--crop", "32"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six images of bright disks, 40 pixels across."""
    folder = tmp_path_factory.mktemp("data")
    for part in ("images", "labels"):
        (folder / part).mkdir()
    y, x = np.ogrid[:160, :160]
    for number in range(6):
        rng = np.random.default_rng(number)
        labels = np.zeros((160, 160), np.uint16)
        for label, centre in enumerate([(40, 40), (40, 115), (115, 40), (115, 115)], 1):
            row, column = rng.integers(-8, 9, 2) + centre
            labels[(y - row) ** 2 + (x - column) ** 2 <= 400] = label
        picture = rng.normal(40, 8, labels.shape) + 120 * (labels > 0)
        Image.fromarray(picture.clip(0, 255).astype(np.uint8)).save(folder / "images" / f"{number}.png")
        Image.fromarray(labels).save(folder / "labels" / f"{number}.png")
    return folder


def train(*arguments: Any, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run `maskq train` to its end, on one thread, which fixes the order of sums."""
    return maskq("train", *map(str, arguments), env=ONE_THREAD | (env or {}), timeout=300)


def rows(model: Path) -> list[dict[str, str]]:
    with (model / "training" / "log.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def checkpointed(model: Path, process: subprocess.Popen[str]) -> None:
    """Wait for the first checkpoint after training steps; the initial one is older than the log."""
    log, checkpoint = (model / "training" / name for name in ("log.csv", "checkpoint.pt"))
    deadline = time.monotonic() + 240
    while not log.exists() or checkpoint.stat().st_mtime_ns < log.stat().st_mtime_ns:
        assert process.poll() is None and time.monotonic() < deadline, "no checkpoint"
        time.sleep(0.02)


@pytest.fixture(scope="module")
def undisturbed(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The models' folder of an undisturbed training."""
    out = tmp_path_factory.mktemp("undisturbed")
    done = train(data, "--model", "disks", "--out", out, *STEPS)
    assert done.returncode == 0, done.stderr
    assert "5 images to learn from, 1 to validate on" in done.stderr
    assert "objects about 40" in done.stderr and "AP at IoU .5 on the images held out" in done.stderr
    return out


def test_training_writes_the_model_its_split_its_log_and_its_curves(undisturbed: Path) -> None:
    model = undisturbed / "disks"
    assert {"model.toml", "weights.safetensors", "split.csv"} <= {path.name for path in model.iterdir()}
    assert "4,val" in (model / "split.csv").read_text().split()
    steps = rows(model)
    assert [int(row["step"]) for row in steps] == list(range(1, 13))
    validated = [int(row["step"]) for row in steps if row["ap50"] != "nan"]
    assert validated == [4, 8, 12]
    with Image.open(model / "training" / "curves.png") as picture:
        assert picture.width > 600 and len(picture.getcolors(1 << 20) or []) > 10


def test_images_are_resized_so_that_objects_have_the_default_diameter(undisturbed: Path) -> None:
    spec = (undisturbed / "disks" / "model.toml").read_text()
    assert "diameter = 40" in spec and "scale = 0.6" in spec


def test_a_killed_training_resumes_and_ends_with_the_same_files(data: Path, undisturbed: Path, tmp_path: Path) -> None:
    process = start("train", data, "--model", "disks", "--out", tmp_path, *STEPS, env=ONE_THREAD)
    checkpointed(tmp_path / "disks", process)
    process.kill()
    process.communicate()
    assert len(rows(tmp_path / "disks")) < 12
    again = train(data, "--model", "disks", "--out", tmp_path, *STEPS)
    assert again.returncode == 0, again.stderr
    for name in ("weights.safetensors", "model.toml", "training/log.csv"):
        assert (tmp_path / "disks" / name).read_bytes() == (undisturbed / "disks" / name).read_bytes(), name


def test_a_training_does_not_go_on_from_changed_labels_without_a_word(data: Path, tmp_path: Path) -> None:
    mine, command = shutil.copytree(data, tmp_path / "mine"), ("--model", "disks", "--out", tmp_path, *STEPS)
    assert train(mine, *command).returncode == 0
    before = (tmp_path / "disks" / "weights.safetensors").read_bytes()
    shutil.copy(mine / "labels" / "0.png", mine / "labels" / "1.png")
    refused = train(mine, *command)
    assert refused.returncode == 2 and len(refused.stderr.splitlines()) == 1
    assert "since it was made, labels have changed: 1; remove it to start over (maskq train --fresh)" in refused.stderr
    assert (tmp_path / "disks" / "weights.safetensors").read_bytes() == before
    fresh = train(mine, *command, "--fresh")
    assert fresh.returncode == 0 and "steps 0 to 12" in fresh.stderr, fresh.stderr
    assert [int(row["step"]) for row in rows(tmp_path / "disks")] == list(range(1, 13))
    assert (tmp_path / "disks" / "weights.safetensors").read_bytes() != before
    assert "steps 12 to 12" in train(mine, *command).stderr


def test_another_training_starts_from_the_model(data: Path, undisturbed: Path, tmp_path: Path) -> None:
    arguments = (data, "--model", "more", "--from", "disks", "--out", tmp_path, "--steps", "2", "--crop", "32")
    done = train(*arguments, env={"MASKQ_MODELS": str(undisturbed)})
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "more" / "weights.safetensors").is_file()


def test_ctrl_c_prints_how_to_resume(data: Path, tmp_path: Path) -> None:
    endless = ("--steps", "5000", *STEPS[2:])
    process = start("train", data, "--model", "disks", "--out", tmp_path, *endless, env=ONE_THREAD)
    checkpointed(tmp_path / "disks", process)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "the same command goes on" in output and "Traceback" not in output


def test_a_finished_model_is_not_overwritten(data: Path, undisturbed: Path, tmp_path: Path) -> None:
    kept = shutil.copytree(undisturbed / "disks", tmp_path / "disks", ignore=shutil.ignore_patterns("training"))
    before = (kept / "weights.safetensors").read_bytes()
    done = train(data, "--model", "disks", "--out", tmp_path, *STEPS)
    assert done.returncode == 2 and "has a model already" in done.stderr
    assert (kept / "weights.safetensors").read_bytes() == before


def test_data_sets_are_understood_or_refused_before_the_training(data: Path, tmp_path: Path) -> None:
    for path in sorted((data / "labels").iterdir()):
        with Image.open(path) as labels:
            numbers = np.asarray(labels).astype(np.uint8)
        indexed = Image.fromarray(numbers, "L")
        indexed.putpalette([value for n in range(256) for value in (n, 37 * n % 256, 91 * n % 256)])
        for kind, picture in (("good", indexed), ("foreground", Image.fromarray(numbers > 0))):
            target = tmp_path / kind / ("validation" if path.stem == "5" else "train")
            (target / "images").mkdir(parents=True, exist_ok=True)
            (target / "masks").mkdir(exist_ok=True)
            shutil.copy(data / "images" / path.name, target / "images")
            picture.save(target / "masks" / f"{path.stem}_mask.png")
    done = train(tmp_path / "good", "--model", "disks", "--out", tmp_path / "models", "--steps", "1", *STEPS[2:])
    assert done.returncode == 0 and "5 images to learn from, 1 to validate on" in done.stderr, done.stderr
    assert "objects about 40" in done.stderr
    refused = train(tmp_path / "foreground", "--model", "other", "--out", tmp_path / "models", *STEPS)
    assert refused.returncode == 2 and "0_mask.png: the only number is 1, in 4 separate pieces" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1 and not (tmp_path / "models" / "other").exists()


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--crop", "33"], "multiple of 8"),
        (["--model", "../Cells"], "name: String should match"),
        (["--from", "nothing"], "no model 'nothing'"),
        (["--device", "cuda:99"], "no device 'cuda:99'"),
        (["--index", "absent.csv"], "absent.csv"),
    ],
    ids=["crop", "name", "from", "device", "index"],
)
def test_invalid_input_is_refused_in_one_line(data: Path, tmp_path: Path, arguments: list[str], why: str) -> None:
    done = train(data, "--model", "disks", "--out", tmp_path, "--steps", "2", *arguments)
    assert done.returncode == 2 and why in done.stderr and "Traceback" not in done.stderr
