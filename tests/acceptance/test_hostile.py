"""Hundreds of hostile files as jobs of a real stack: each ends in a result or a typed error, and no process notices."""

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
from tests.hostile import LIMITS, make, names, seed, wanted

COINS = np.ascontiguousarray(data.coins()[:64, :64])  # type: ignore[no-untyped-call]
#: A sound image goes in after so many others.
GOOD_EVERY = 40
#: Seconds in which each job must have ended.
DEADLINE_S = 120
#: Megabytes that a worker's process may grow by, at its peak, beyond what it took for sound images of the largest
#: shapes here: what decoding takes for a moment, of which a PNG's texts may be 64, and the heap kept for the next.
MOST_GROWN = 512
TYPES = {kind.__name__ for kind in ImageError.__subclasses__()}


class Watch:
    """The most memory of each worker process, megabytes, sampled while the block runs."""

    def __init__(self) -> None:
        self.most: dict[int, float] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while True:
            for process in workers():
                self.most[process.pid] = max(self.most.get(process.pid, 0), process.memory_info().rss / 2**20)
            if self._over.wait(0.05):
                return


@dataclass(frozen=True)
class Outcome:
    """How one job ended."""

    kind: str
    told: str
    size: tuple[int, int]
    seconds: float


@dataclass(frozen=True)
class Run:
    """What all of them did to the stack."""

    outcomes: dict[str, Outcome]
    good: list[Any]
    before: set[psutil.Process]
    after: set[psutil.Process]
    most_before: dict[int, float]
    most: dict[int, float]


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
        with Watch() as warm:
            _warm_up(client)
        before = workers()
        with Watch() as watch:
            outcomes, good = _send_all(client)
        return Run(outcomes, good, before, workers(), warm.most, watch.most)


def _warm_up(client: Client) -> None:
    """Sound images of the largest shapes, two at once: what the workers take for these, they may take."""
    largest = [np.zeros(shape, np.uint8) for shape in ((540, 550), (1, 100_000), (100_000, 1))]
    list(client.map([COINS, *largest * 2]))


def _send_all(client: Client) -> tuple[dict[str, Outcome], list[Any]]:
    """Each input as a job, some at a time, and sound images between them."""
    inputs = names(seed())
    outcomes: dict[str, Outcome] = {}
    good = []
    for start in range(0, len(inputs), GOOD_EVERY):
        batch = inputs[start : start + GOOD_EVERY]
        jobs = {name: client.submit(make(name), name=name) for name in batch}
        sound = client.submit(COINS)
        for name, job in jobs.items():
            outcomes[name] = _outcome(name, job)
        good.append(sound.wait(DEADLINE_S))
    return outcomes, good


def _outcome(name: str, job: Any) -> Outcome:
    """Waits for it, and names it where it hangs."""
    began = time.monotonic()
    try:
        result: Result = job.wait(DEADLINE_S)
    except JobFailed as failed:
        return Outcome(failed.error.type, str(failed), (0, 0), time.monotonic() - began)
    except Exception as error:
        pytest.fail(f"{name}: {type(error).__name__}: {error}")
    return Outcome("pixels", "", result.labels.shape, time.monotonic() - began)


def test_each_job_ends_in_a_result_within_the_limits_or_a_typed_error_that_names_it(run: Run) -> None:
    assert len(run.outcomes) == len(names(seed())) > 300
    for name, outcome in run.outcomes.items():
        if outcome.kind == "pixels":
            assert 0 < outcome.size[0] * outcome.size[1] <= LIMITS.max_pixels, name
        else:
            assert outcome.kind in TYPES, (name, outcome)
            assert name in outcome.told, (name, outcome)


def test_each_trap_is_told_for_what_it_is(run: Run) -> None:
    wrong = {
        name: outcome
        for name, outcome in run.outcomes.items()
        if (right := wanted(name)) is not None and outcome.kind not in right
    }
    assert not wrong


def test_no_worker_process_dies(run: Run) -> None:
    assert len(run.before) >= 2
    assert run.after == run.before


def test_sound_images_sent_between_them_give_what_they_always_give(run: Run) -> None:
    assert len(run.good) > 5
    for result in run.good:
        assert result.label_file == run.good[0].label_file


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="counts memory as Linux does")
def test_no_worker_takes_more_memory_than_its_bound(run: Run) -> None:
    assert run.most
    for process, most in run.most.items():
        assert most - run.most_before[process] <= MOST_GROWN, (process, run.most_before[process], most)
