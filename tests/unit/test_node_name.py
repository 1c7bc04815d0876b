"""Workers of one machine and broker have different node names."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from maskq.workers.celery_worker import node_name
from maskq.workers.celery_worker.node_name import unique_node


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(node_name, "_held", {})
    yield
    for descriptor in node_name._held:
        os.close(descriptor)


def test_a_second_worker_of_a_device_gets_the_next_name() -> None:
    assert [unique_node("gpu0", "redis://a") for _ in range(3)] == ["gpu0", "gpu0-2", "gpu0-3"]
    assert unique_node("gpu1", "redis://a") == unique_node("gpu1", "redis://b") == "gpu1"


def test_the_name_of_a_process_that_has_ended_is_free_again() -> None:
    unique_node("cpu", None)
    descriptor, _ = node_name._held.popitem()
    os.close(descriptor)
    assert unique_node("cpu", None) == "cpu"


def test_a_process_that_ends_leaves_no_file(tmp_path: Path) -> None:
    program = "from maskq.workers.celery_worker.node_name import unique_node; print(unique_node('cpu', None))"
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    ended = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert ended.stdout == "cpu\n" and not list(tmp_path.iterdir())


def test_without_a_folder_to_write_to_the_process_id_makes_the_name_unique(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", os.devnull)
    assert unique_node("cpu", None) == f"cpu-{os.getpid()}"


def test_without_any_folder_for_temporary_files_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """As with a root that can't be written and no /tmp of its own."""
    for name in "TMPDIR", "TEMP", "TMP":
        monkeypatch.setenv(name, os.devnull)
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: [os.devnull])
    assert unique_node("cpu", None) == f"cpu-{os.getpid()}"
