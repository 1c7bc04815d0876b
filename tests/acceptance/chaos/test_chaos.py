"""Everything is killed, stopped and cut off at random times under a steady load: no job is lost, none doubled.

`MASKQ_CHAOS_SEED` repeats a run's faults, `MASKQ_CHAOS=long` (as `make chaos` sets it) takes the long form, and
`MASKQ_CHAOS_REPORT` is a file for the report.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from maskq import Client, Result
from tests.acceptance.pictures import ten_pieces
from tests.conftest import until

from .faults import Chaos, Planned, plan
from .journal import read
from .load import Load, loaded, without_faults
from .report import Report, report, unfit
from .world import World, world


@dataclass(frozen=True)
class Form:
    """How much of it."""

    jobs: int
    faults: int
    gap_s: tuple[float, float]
    stopped_s: float
    wait_s: float
    """How long all jobs may take after the last fault."""


SHORT = Form(jobs=150, faults=10, gap_s=(1, 5), stopped_s=12, wait_s=180)
LONG = Form(jobs=2000, faults=65, gap_s=(3, 11), stopped_s=30, wait_s=600)
FORM = LONG if os.environ.get("MASKQ_CHAOS") == "long" else SHORT
SEED = int(os.environ.get("MASKQ_CHAOS_SEED") or time.time_ns() % 1_000_000)
REPORT = os.environ.get("MASKQ_CHAOS_REPORT")
#: Seconds in which nineteen of twenty faults must be over.
RECOVERED_S = 20.0


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return [path for path, _ in ten_pieces(tmp_path_factory.mktemp("images"))]


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Leases and resending are shorter than by default; and a job that has the bad luck to be in hand at many faults is
    not poison.
    """
    folder = tmp_path_factory.mktemp("world")
    with world(folder, lease_s=3, resend_s=3, max_attempts=50) as made:
        yield made


@pytest.fixture(scope="module")
def reference(broken: World, images: Sequence[Path]) -> list[Result]:
    with Client(settings=broken.settings) as client:
        return without_faults(client, images, wait_s=120)


@contextmanager
def under_faults(world: World, load: Load, planned: list[Planned]) -> Iterator[Chaos]:
    """Load and faults run while the block does, and are over, or have failed it, at its end."""
    chaos, stop = Chaos(world), threading.Event()
    over_s = max(fault.at_s for fault in planned) + 2
    with loaded(load, FORM.jobs, over_s), ThreadPoolExecutor(len(planned)) as threads:
        running: list[Future[None]] = [threads.submit(chaos.run, fault, stop) for fault in planned]
        try:
            yield chaos
            for each in running:
                each.result()
        finally:
            stop.set()


def test_whatever_dies_every_job_ends_once_with_its_result(
    broken: World, images: Sequence[Path], reference: list[Result]
) -> None:
    print(f"\nMASKQ_CHAOS_SEED={SEED}")
    planned = plan(SEED, FORM.faults, FORM.gap_s, FORM.stopped_s)
    with Client(settings=broken.settings) as client:
        load = Load(client, images)
        with under_faults(broken, load, planned) as chaos:
            pass
        differing = load.differing(reference, time.monotonic() + FORM.wait_s)
    until(lambda: not broken.to.ledger.unfinished(), FORM.wait_s)
    until(broken.all_listen, 90)
    stories = read(broken.journal_folder)
    told = report(SEED, stories, (job.id for job, _ in load.accepted), len(load.refused), chaos.struck)
    print(told)
    if REPORT:
        told.write(Path(REPORT))
    assert told.accepted == FORM.jobs
    assert len(chaos.struck) == FORM.faults
    assert differing == []
    assert unfit(stories) == []
    nothing_is_counted_still(broken)
    _recovered(told)


def nothing_is_counted_still(world: World) -> None:
    """Each ending takes a job out of the counts, once: what ended twice would leave them below nothing."""
    assert world.redis.get("maskq:bytes") == b"0"
    assert world.redis.hgetall("maskq:clients") == {}
    assert world.in_hand() == frozenset()


def _recovered(told: Report) -> None:
    slow = [recovery for recovery in told.recoveries if recovery.seconds > RECOVERED_S]
    assert len(slow) <= 0.05 * len(told.recoveries), f"felt for more than {RECOVERED_S:g} s: {slow}"
