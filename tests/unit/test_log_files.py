"""Log files of processes and of the supervisor."""

from __future__ import annotations

import logging
import stat
from pathlib import Path

import pytest

from maskq.workers.supervision import log_files
from maskq.workers.supervision.log_files import open_log, supervisor_log


def test_a_log_is_appended_to_and_rotated_at_start_when_it_is_too_large(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_files, "_MAX_BYTES", 10)
    path = tmp_path / "logs" / "cpu.log"
    for line in (b"first\n", b"second\n", b"third\n"):
        with open_log(path) as log:
            log.write(line)
    assert path.read_text() == "third\n"
    assert path.with_name("cpu.log.1").read_text() == "first\nsecond\n"
    assert {stat.S_IMODE(log.stat().st_mode) for log in path.parent.iterdir()} == {0o600}, "names of images are private"


def test_a_supervisors_warnings_go_to_its_log_only(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    logger = logging.getLogger("maskq.workers.supervision.supervisor")
    with supervisor_log(tmp_path / "supervisor.log"):
        logger.warning("flower was restarted")
    logger.warning("no file any more")
    assert (tmp_path / "supervisor.log").read_text().endswith(" WARNING flower was restarted\n")
    assert "flower" not in capfd.readouterr().err
