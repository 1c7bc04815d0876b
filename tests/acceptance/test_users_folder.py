"""maskq from a wheel, run in a folder whose modules have the names of maskq's source folders."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import httpx
import pytest

from tests.acceptance.pictures import ten_pieces
from tests.conftest import until

CHECKOUT = Path(__file__).parents[2]
SOURCES = ("maskq", "producer", "segmentation", "tasks", "workers", "pyproject.toml", "README.md", "LICENSE")
#: The source folders, and the modules that Celery, Flower or Django import by default or by an environment variable.
NAMES = ("tasks", "workers", "producer", "segmentation", "celeryconfig", "flowerconfig", "mysite")
#: A module that creates a marker file when it is executed.
MODULE = """
from pathlib import Path

Path(__file__).with_suffix(".executed").touch()
OWNER = "user"
"""
#: Environment variables that a shell may have for another Celery application.
ENVIRONMENT = {
    "APP": "tasks:app",
    "BROKER_URL": "redis://127.0.0.1:1",
    "CELERY_BROKER_URL": "redis://127.0.0.1:1",
    "CELERY_CONFIG_MODULE": "celeryconfig",
    "DJANGO_SETTINGS_MODULE": "mysite",
    "FLOWER_BASIC_AUTH": "theirs:theirs",
    "FLOWER_CONF": "flowerconfig.py",
    "FLOWER_PORT": "1",
    "FLOWER_URL_PREFIX": "theirs",
}
IMPORTS = """
import sys
from maskq import Client
import celeryconfig, producer, segmentation, tasks, workers

assert Client.__module__.startswith("maskq."), Client.__module__
assert "site-packages" in sys.modules["maskq"].__file__, sys.modules["maskq"].__file__
for module in (celeryconfig, producer, segmentation, tasks, workers):
    assert module.OWNER == "user", module
"""


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` folder of a new environment with maskq's wheel and the dependencies of the tests' environment."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    for name in SOURCES:  # a copy, since a build leaves files in its source folder
        path = CHECKOUT / name
        if path.is_dir():
            shutil.copytree(path, source / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(path, source / name)
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "wheel", "--no-deps", "--wheel-dir", folder, source], check=True)
    (wheel,) = folder.glob("*.whl")
    environment = folder / "environment"
    venv.create(environment, with_pip=False, symlinks=True)
    python = environment / "bin" / "python"
    subprocess.run([*pip, "--python", python, "install", "--no-deps", "--no-index", wheel], check=True)
    own_packages = Path(sysconfig.get_path("purelib", vars={"base": str(environment), "platbase": str(environment)}))
    # A folder that a .pth file adds has its own .pth files ignored: the editable install of the checkout stays out.
    (own_packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return environment / "bin"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the user's modules and an image."""
    for name in NAMES:
        (tmp_path / f"{name}.py").write_text(MODULE)
    image, _ = ten_pieces(tmp_path / "images")[0]
    shutil.copy(image, tmp_path / f"cells{image.suffix}")
    return tmp_path


def executed(folder: Path) -> list[str]:
    return sorted(path.stem for path in folder.glob("*.executed"))


def environment(folder: Path) -> dict[str, str]:
    ports = {"MASKQ_FLOWER_PORT": "0", "MASKQ_GATEWAY_PORT": "0"}
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}  # maskq from the wheel only
    return {**inherited, **ENVIRONMENT, **ports, "MASKQ_STATE_DIR": str(folder / "state"), "COLUMNS": "200"}


def test_run_executes_none_of_the_users_modules(programs: Path, folder: Path) -> None:
    (image,) = folder.glob("cells.*")
    command = [str(programs / "maskq"), "run", image.name, "--out", "out", "--devices", "cpu", "--flower"]
    result = subprocess.run(
        command, cwd=folder, env=environment(folder), capture_output=True, text=True, timeout=300, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert (folder / "out" / "cells.labels.png").exists()
    assert executed(folder) == []


def test_up_executes_none_of_the_users_modules_and_logs_to_files_only(programs: Path, folder: Path) -> None:
    output = folder / "output"
    command = [str(programs / "maskq"), "up", "--devices", "cpu", "--cluster-processes", "1"]
    with output.open("w") as log:
        up = subprocess.Popen(command, cwd=folder, env=environment(folder), stdout=log, stderr=subprocess.STDOUT)
    try:
        until(lambda: "maskq submit" in output.read_text() or up.poll() is not None, 180)
        text = output.read_text()
        assert up.poll() is None, text
        flower, gateway = re.search(r"Flower: (\S+)", text), re.search(r"gateway: (\S+)/docs", text)
        assert flower and gateway, text
        assert httpx.get(f"{gateway[1]}/readyz", timeout=30).status_code == 200
        workers = until(lambda: re.findall(r"cpu@|cluster@", httpx.get(f"{flower[1]}/", timeout=30).text), 60)
        assert workers, "Flower sees the workers, so it uses the stack's broker"
        up.send_signal(signal.SIGINT)
        assert up.wait(60) == 0
    finally:
        up.kill()
        up.wait()
    assert "WARNING" not in output.read_text() and "Warning" not in output.read_text()
    logs = {path.name for path in (folder / "state" / "logs").iterdir()}
    assert logs == {f"{name}.log" for name in ("cluster", "cpu", "flower", "gateway", "redis", "supervisor")}
    assert executed(folder) == []


def test_the_users_modules_are_importable_together_with_maskq(programs: Path, folder: Path) -> None:
    subprocess.run(
        [programs / "python", "-c", "from maskq import Client"], cwd=folder, env=environment(folder), check=True
    )
    assert executed(folder) == []
    subprocess.run([programs / "python", "-c", IMPORTS], cwd=folder, env=environment(folder), check=True)
    assert executed(folder) == ["celeryconfig", "producer", "segmentation", "tasks", "workers"]
