"""Commands that wait for workers which nobody has started say so, and go on once there are some."""

from __future__ import annotations

import json
import os
import pty
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest
from redis import Redis

from maskq import Client, WaitTimeout
from tests.acceptance.processes import maskq, start
from tests.conftest import png, until

MISSING = "no device and no cluster worker serves this broker (device workers: 0, cluster workers: 0, jobs waiting: 1)"


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "cells.png"
    path.write_bytes(png(np.random.default_rng(0).integers(0, 255, (64, 64), np.uint8)))
    return path


@contextmanager
def worker(kind: str, redis_url: str, *options: str) -> Iterator[None]:
    env = {"MASKQ_BROKER_URL": redis_url, "MASKQ_CLUSTER_PROCESSES": "1"}
    process = start("worker", kind, *options, env=env)
    try:
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)


class Terminal:
    """A command in a pseudo-terminal, and what it has shown."""

    def __init__(self, *arguments: str | Path, env: dict[str, str]) -> None:
        self._ours, theirs = pty.openpty()
        os.set_blocking(self._ours, False)
        self.process = start(
            *arguments, env=env | {"TERM": "xterm-256color"}, stdin=theirs, stdout=theirs, stderr=theirs
        )
        os.close(theirs)
        self.text = ""

    def shows(self, text: str, since: int = 0) -> bool:
        with suppress(OSError):  # nothing new, or the command has ended
            while data := os.read(self._ours, 65_536):
                self.text += data.decode(errors="replace")
        return text in self.text[since:]


def test_run_says_which_workers_are_missing_until_they_come(redis_url: str, image: Path, tmp_path: Path) -> None:
    run = Terminal("run", image, "--out", tmp_path / "out", env={"MASKQ_BROKER_URL": redis_url})
    until(lambda: run.shows(MISSING))
    assert "`maskq worker device` and `maskq worker cluster`" in run.text
    with worker("device", redis_url, "--devices", "cpu"):
        until(lambda: run.shows("no cluster worker serves this broker (device workers: 1, cluster workers: 0"), 120)
        with worker("cluster", redis_url):
            assert run.process.wait(120) == 0
            assert run.shows("done", since=run.text.rindex("serves this broker"))
    assert (tmp_path / "out" / "cells.json").exists()


def test_without_a_terminal_it_is_one_line_on_standard_error(redis_url: str, image: Path, tmp_path: Path) -> None:
    env = {"MASKQ_BROKER_URL": redis_url}
    submitted = maskq("submit", image, "--json", env=env)
    job = json.loads(submitted.stdout)["job_id"]
    waited = maskq("result", job, "--wait", "7", "--out", tmp_path / "out", "--json", env=env)
    assert waited.returncode == 1
    assert waited.stderr.count(f"waiting: {MISSING}") == 1
    assert waited.stdout == ""


def test_workers_that_report_are_not_missed(redis: Redis, redis_url: str, image: Path) -> None:
    with Client(redis_url) as client:
        job = client.submit(image)
        assert client.stats().unserved is None, "a job that has just come is no reason"
        until(lambda: client.stats().unserved)
        with pytest.raises(WaitTimeout, match="no device and no cluster worker"):
            job.wait(0.1)
        now = redis.time()[0]
        for key in "maskq:devices", "maskq:cluster-workers":
            redis.hset(key, "one@here", json.dumps({"time": now}))
        assert client.stats().unserved is None
