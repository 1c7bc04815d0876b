"""Hundreds of hostile files as jobs of a real stack: each ends in a result or a typed error, and no process dies."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import psutil
import pytest
from skimage import data

from maskq import Client, JobFailed, Result, Settings
from maskq.segmentation.errors import ImageError
from maskq.workers.local.stack import Stack, running
from tests.conftest import processes
from tests.hostile import LIMITS, expected, make, names, seed

COINS = np.ascontiguousarray(data.coins()[:64, :64])  # type: ignore[no-untyped-call]
#: Files between two valid images.
BATCH = 40
#: Seconds in which each job must have ended.
DEADLINE_S = 120
#: Megabytes of a worker process's peak over its peak for valid images of the largest shapes here: decoding takes some,
#: and the heap keeps some for the next image.
MAX_GROWTH = 512
TYPES = {kind.__name__ for kind in ImageError.__subclasses__()}


class PeakMemory:
    """The peak memory of each worker process, megabytes, sampled while the block runs."""

    def __init__(self) -> None:
        self.peaks: dict[int, float] = {}
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> PeakMemory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        while True:
            for process in workers():
                self.peaks[process.pid] = max(self.peaks.get(process.pid, 0), process.memory_info().rss / 2**20)
            if self._stopped.wait(0.05):
                return


@dataclass(frozen=True)
class Outcome:
    """How one job ended."""

    #: The error's type, or `pixels`.
    kind: str
    message: str
    size: tuple[int, int]
    seconds: float


@dataclass(frozen=True)
class Run:
    """The outcomes of all files, the results of the valid images between them, and the workers before and after."""

    outcomes: dict[str, Outcome]
    valid: list[Any]
    before: set[psutil.Process]
    after: set[psutil.Process]
    peaks_before: dict[int, float]
    peaks: dict[int, float]


def workers() -> set[psutil.Process]:
    return processes("maskq.workers.device.process") | processes("maskq.workers.cluster")


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    settings = Settings(devices="cpu", cluster_processes=1, max_pixels=LIMITS.max_pixels, max_bytes=LIMITS.max_bytes)
    with running(settings) as up:
        yield up


@pytest.fixture(scope="module")
def run(stack: Stack) -> Run:
    print(f"HOSTILE_SEED={seed()}")
    with Client(settings=stack.settings.model_copy(update={"max_bytes": 4 * LIMITS.max_bytes})) as client:
        with PeakMemory() as warm:
            _warm_up(client)
        before = workers()
        with PeakMemory() as memory:
            outcomes, valid = _send_all(client)
        return Run(outcomes, valid, before, workers(), warm.peaks, memory.peaks)


def _warm_up(client: Client) -> None:
    """Segment valid images of the largest shapes, two at once: the workers may take as much memory as for these."""
    largest = [np.zeros(shape, np.uint8) for shape in ((540, 550), (1, 100_000), (100_000, 1))]
    list(client.map([COINS, *largest * 2]))


def _send_all(client: Client) -> tuple[dict[str, Outcome], list[Any]]:
    """Submit each file, in batches, and a valid image after each batch."""
    files = names(seed())
    outcomes: dict[str, Outcome] = {}
    valid = []
    for start in range(0, len(files), BATCH):
        batch = files[start : start + BATCH]
        jobs = {name: client.submit(make(name), name=name) for name in batch}
        coins = client.submit(COINS)
        for name, job in jobs.items():
            outcomes[name] = _outcome(name, job)
        valid.append(coins.wait(DEADLINE_S))
    return outcomes, valid


def _outcome(name: str, job: Any) -> Outcome:
    """Wait for the job. Fails with its name if it takes too long."""
    start = time.monotonic()
    try:
        result: Result = job.wait(DEADLINE_S)
    except JobFailed as failed:
        return Outcome(failed.error.type, str(failed), (0, 0), time.monotonic() - start)
    except Exception as error:
        pytest.fail(f"{name}: {type(error).__name__}: {error}")
    return Outcome("pixels", "", result.labels.shape, time.monotonic() - start)


def test_each_job_ends_in_a_result_within_the_limits_or_a_typed_error_with_the_name(run: Run) -> None:
    assert len(run.outcomes) == len(names(seed())) > 300
    for name, outcome in run.outcomes.items():
        if outcome.kind == "pixels":
            assert 0 < outcome.size[0] * outcome.size[1] <= LIMITS.max_pixels, name
        else:
            assert outcome.kind in TYPES, (name, outcome)
            assert name in outcome.message, (name, outcome)


def test_each_file_made_by_hand_has_an_expected_outcome(run: Run) -> None:
    wrong = {
        name: outcome
        for name, outcome in run.outcomes.items()
        if (right := expected(name)) is not None and outcome.kind not in right
    }
    assert not wrong


def test_no_worker_process_dies(run: Run) -> None:
    assert len(run.before) >= 2
    assert run.after == run.before


def test_valid_images_between_them_all_give_the_same_result(run: Run) -> None:
    assert len(run.valid) > 5
    for result in run.valid:
        assert result.label_file == run.valid[0].label_file


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="counts memory as Linux does")
def test_no_worker_exceeds_its_memory_limit(run: Run) -> None:
    assert run.peaks
    for process, peak in run.peaks.items():
        assert peak - run.peaks_before[process] <= MAX_GROWTH, (process, run.peaks_before[process], peak)
