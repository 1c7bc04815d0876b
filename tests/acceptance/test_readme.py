"""The README's examples work as they stand."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from maskq import Settings
from maskq.workers.local.stack import Stack, running
from tests.acceptance.pictures import ten_pieces
from tests.acceptance.processes import maskq, plain
from tests.unit.test_docs import ROOT, blocks, maskq_commands

README = ROOT / "README.md"
SHELL = "".join(blocks(README, ""))


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    settings = Settings(broker_url=None, devices="cpu", cluster_processes=1, gateway_port=0)
    with running(settings, gateway=True) as stack:
        yield stack


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with an image by the name that the README uses."""
    (piece, _), *_ = ten_pieces(tmp_path / "pieces")
    shutil.copy(piece, tmp_path / "cells.png")
    return tmp_path


def test_the_python_examples_run(stack: Stack, folder: Path) -> None:
    env = plain({"MASKQ_BROKER_URL": stack.settings.broker_url or ""})
    examples = blocks(README, "python")
    for example in examples:
        run = subprocess.run(
            [sys.executable, "-c", example],
            cwd=folder,
            env=env,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert run.returncode == 0, run.stderr
        assert re.match(r"\(\d+, \d+\) \[\(\d+, \d+, \d+, \d+\)", run.stdout), run.stdout
    assert examples


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_the_requests_are_answered(stack: Stack, folder: Path) -> None:
    answer = ""
    for line in re.findall(r"^curl .*", SHELL, re.MULTILINE):
        job = re.search(r'"job_id": ?"(\w+)"', answer)
        line = line.replace("localhost:8000", (stack.gateway_url or "").removeprefix("http://"))
        line = line.replace("/JOB/", f"/{job[1] if job else ''}/")
        run = subprocess.run(["bash", "-c", line], cwd=folder, capture_output=True, text=True, timeout=120, check=False)
        answer = run.stdout
        assert run.returncode == 0, run.stderr
    assert '"objects"' in answer and '"rle"' in answer


def test_every_command_explains_itself() -> None:
    commands = [arguments[0] for arguments in maskq_commands(README)]
    assert {"run", "up"} <= set(commands)
    for name in {*commands, *re.findall(r"`maskq ([a-z]+)", README.read_text())}:
        shown = maskq(name, "--help")
        assert shown.returncode == 0 and "Usage" in shown.stdout


def test_targets_of_make_and_settings_of_compose_exist() -> None:
    makefile, compose = (ROOT / "Makefile").read_text(), (ROOT / "compose.yaml").read_text()
    targets = re.findall(r"(?:^|`)make ([a-z]+)", README.read_text(), re.MULTILINE)
    assert {"run", "test", "chaos"} <= set(targets)
    for target in targets:
        assert re.search(rf"^([a-z]+ )*{target}( [a-z]+)*:", makefile, re.MULTILINE), f"make {target}"
    text = README.read_text()
    replicas, profiles = re.findall(r"\b(MASKQ_\w+_REPLICAS)=", text), re.findall(r"\bCOMPOSE_PROFILES=(\w+)", text)
    assert replicas and profiles
    assert all(f'replicas: "${{{setting}:-' in compose for setting in replicas)
    assert all(re.search(rf"profiles: .*\b{profile}\b", compose) for profile in profiles)
