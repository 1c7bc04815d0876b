"""`maskq run`, as a user meets it: real Redis, real workers, real images."""

from __future__ import annotations

import json
import signal
import uuid
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from maskq.segmentation.evaluation.metrics import score, summarise
from tests.acceptance.pictures import ten_pieces
from tests.acceptance.processes import marked, maskq, start
from tests.conftest import until


def read(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image).astype(np.int32)


@pytest.fixture(scope="module")
def ten(tmp_path_factory):
    """Ten real pieces and one file that is no image, run once: (pieces, output folder, the finished command)."""
    folder = tmp_path_factory.mktemp("ten")
    pieces = ten_pieces(folder / "in")
    (folder / "in" / "broken.png").write_bytes(pieces[0][0].read_bytes()[:300])
    done = maskq("run", folder / "in", "--out", folder / "out", "--devices", "cpu", "--json")
    return pieces, folder / "out", done


def test_ten_real_images_give_masks_that_agree_with_the_ground_truth(ten):
    pieces, out, _ = ten
    scores = [score(truth.astype(np.int32), read(out / f"{path.stem}.labels.png")) for path, truth in pieces]
    summary = summarise(scores)
    assert summary.pooled[0].ap > 0.75, f"AP50 {summary.pooled[0].ap:.3f}, {summary.found} of {summary.truths} objects"


def test_a_broken_image_fails_alone_with_its_reason_and_the_exit_status_says_so(ten):
    _, out, done = ten
    assert done.returncode == 1
    summary = json.loads((out / "summary.json").read_text())
    assert (summary["images"], summary["done"], summary["failed"]) == (11, 10, 1)
    (failure,) = summary["failures"]
    assert failure["type"] == "TruncatedImage" and "broken.png" in failure["message"]
    assert "broken.png" in done.stderr


def test_every_line_of_json_is_an_object_and_the_last_is_the_summary(ten):
    _, out, done = ten
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(lines) == 12 and lines[-1] == json.loads((out / "summary.json").read_text())


def test_each_image_has_its_three_files_and_they_agree(ten):
    pieces, out, _ = ten
    for path, truth in pieces:
        labels, told = read(out / f"{path.stem}.labels.png"), json.loads((out / f"{path.stem}.json").read_text())
        assert labels.shape == truth.shape == (told["height"], told["width"])
        assert read(out / f"{path.stem}.overlay.png").shape == (*truth.shape, 3)
        assert {o["id"]: o["area"] for o in told["objects"]} == {
            n: int(count) for n, count in enumerate(np.bincount(labels.ravel())) if n and count
        }
        assert told["model"].startswith("nuclei@") and told["timings"]["total"] > 0
    assert not list(out.glob("*.part"))


@pytest.mark.parametrize("way", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_however_it_is_stopped_nothing_is_left(tmp_path, way):
    mark = uuid.uuid4().hex
    folder = tmp_path / "in"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for n in range(60):
        np.save(folder / f"{n}.npy", rng.integers(0, 255, (700, 700), np.uint8))
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    env = {"MASKQ_TEST_MARK": mark, "TMPDIR": str(temporary)}
    process = start("run", folder, "--out", tmp_path / "out", "--devices", "cpu", env=env)
    try:
        until(lambda: len(list(tmp_path.glob("out/*.overlay.png"))) > 1, 90)  # so one is whole, and counted
        process.send_signal(way)
        said, _ = process.communicate(timeout=60)
        assert until(lambda: not marked(mark), 45)
    finally:
        process.kill()
        for left in marked(mark):
            left.kill()
    if way is not signal.SIGKILL:
        assert process.returncode == 130
        summary = json.loads((tmp_path / "out" / "summary.json").read_text())
        assert 0 < summary["done"] < 60 and f"{summary['done']} of 60" in said
        assert not list(temporary.iterdir())


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["nowhere.png"], "nowhere.png: no such file"),
        (["{image}", "--model", "nonesuch"], "no model 'nonesuch'; there are: nuclei"),
        (["{image}", "--devices", "cpu,gpu"], "entry 2: 'gpu'"),
        (["{image}", "--seed-threshold", "0.2"], "should be greater than or equal to 0.5"),
    ],
)
def test_what_cannot_be_is_refused_at_once_with_what_to_do(tmp_path, arguments, complaint):
    image = tmp_path / "a.npy"
    np.save(image, np.zeros((8, 8), np.uint8))
    done = maskq("run", *(a.format(image=image) for a in arguments), "--out", tmp_path / "out", timeout=60)
    assert done.returncode == 2
    assert complaint in done.stderr
    assert "Traceback" not in done.stderr
