"""`maskq run` with a real Redis, real workers and real images."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import uuid
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from maskq.segmentation.evaluation.metrics import score, summarise
from tests.acceptance.pictures import ten_pieces
from tests.acceptance.processes import marked, maskq, start
from tests.conftest import until

#: The pieces with their labels, the output folder, and the finished command.
Ten = tuple[list[tuple[Path, np.ndarray]], Path, subprocess.CompletedProcess[str]]


def read(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image).astype(np.int32)


def in_terminal(*arguments: str | Path) -> tuple[int, str]:
    """Run a command in a pseudo-terminal; returns its exit status, and all that the terminal was sent."""
    ours, theirs = pty.openpty()
    process = start(*arguments, env={"TERM": "xterm-256color"}, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    output = b""
    with suppress(OSError):  # Linux ends a terminal's output with EIO
        while data := os.read(ours, 65_536):
            output += data
    os.close(ours)
    return process.wait(60), output.decode()


@pytest.fixture(scope="module")
def ten(tmp_path_factory: pytest.TempPathFactory) -> Ten:
    """Ten real pieces and one truncated file, run once: (pieces, output folder, the finished command)."""
    folder = tmp_path_factory.mktemp("ten")
    pieces = ten_pieces(folder / "in")
    (folder / "in" / "broken.png").write_bytes(pieces[0][0].read_bytes()[:300])
    done = maskq("run", folder / "in", "--out", folder / "out", "--devices", "cpu", "--json")
    return pieces, folder / "out", done


def test_ten_real_images_give_masks_that_agree_with_the_ground_truth(ten: Ten) -> None:
    pieces, out, _ = ten
    scores = [score(truth.astype(np.int32), read(out / f"{path.stem}.labels.png")) for path, truth in pieces]
    summary = summarise(scores)
    assert summary.pooled[0].ap > 0.75, f"AP50 {summary.pooled[0].ap:.3f}, {summary.found} of {summary.truths} objects"


def test_a_broken_image_fails_alone_with_its_reason_and_exit_status_1(ten: Ten) -> None:
    _, out, done = ten
    assert done.returncode == 1
    summary = json.loads((out / "summary.json").read_text())
    assert (summary["images"], summary["done"], summary["failed"]) == (11, 10, 1)
    (failure,) = summary["failures"]
    assert failure["type"] == "TruncatedImage" and "broken.png" in failure["message"]
    assert "broken.png" in done.stderr


def test_every_line_of_json_is_an_object_and_the_last_is_the_summary(ten: Ten) -> None:
    _, out, done = ten
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(lines) == 12 and lines[-1] == json.loads((out / "summary.json").read_text())


def test_each_image_has_three_files_that_agree(ten: Ten) -> None:
    pieces, out, _ = ten
    for path, truth in pieces:
        labels = read(out / f"{path.stem}.labels.png")
        document = json.loads((out / f"{path.stem}.json").read_text())
        assert labels.shape == truth.shape == (document["height"], document["width"])
        assert read(out / f"{path.stem}.overlay.png").shape == (*truth.shape, 3)
        assert {o["id"]: o["area"] for o in document["objects"]} == {
            n: int(count) for n, count in enumerate(np.bincount(labels.ravel())) if n and count
        }
        assert document["model"].startswith("nuclei@") and document["timings"]["total"] > 0
    assert not list(out.glob("*.part"))


def test_only_the_chosen_files_are_written_and_a_terminal_shows_what_is_waited_for(tmp_path: Path, ten: Ten) -> None:
    pieces, *_ = ten
    out = tmp_path / "out"
    status, screen = in_terminal("run", pieces[0][0], "--out", out, "--devices", "cpu", "--format", "labels")
    assert status == 0, screen
    assert {path.name for path in out.iterdir()} == {f"{pieces[0][0].stem}.labels.png", "summary.json"}
    assert "0/1" in screen and "1/1" in screen
    for activity in ("starting redis", "compiling kernels", "importing torch", "loading the model", "stopping workers"):
        assert activity in screen


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_is_left_after_a_signal(tmp_path: Path, number: signal.Signals) -> None:
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
        until(lambda: len(list(tmp_path.glob("out/*.overlay.png"))) > 1, 90)  # so one is complete, and counted
        process.send_signal(number)
        output, _ = process.communicate(timeout=60)
        assert until(lambda: not marked(mark), 45)
    finally:
        process.kill()
        for child in marked(mark):
            child.kill()
    if number is not signal.SIGKILL:
        assert process.returncode == 130
        summary = json.loads((tmp_path / "out" / "summary.json").read_text())
        assert 0 < summary["done"] < 60 and f"{summary['done']} of 60" in output
        assert not list(temporary.iterdir())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere.png"], "nowhere.png: no such file"),
        (["{image}", "--model", "nonesuch"], "no model 'nonesuch'; there are: nuclei"),
        (["{image}", "--devices", "cpu,gpu"], "entry 2: 'gpu'"),
        (["{image}", "--format", "labels,geo"], "unknown format 'geo'; known formats: labels, objects, table"),
        (["{image}", "--seed-threshold", "0.2"], "should be greater than or equal to 0.5"),
    ],
)
def test_an_invalid_argument_is_refused_before_anything_starts(
    tmp_path: Path, arguments: list[str], message: str
) -> None:
    image = tmp_path / "a.npy"
    np.save(image, np.zeros((8, 8), np.uint8))
    done = maskq("run", *(a.format(image=image) for a in arguments), "--out", tmp_path / "out", timeout=60)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
