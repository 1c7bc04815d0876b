"""A device crashes, hangs, is lost or runs out of memory on command: its process is replaced, every job is done."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest

from maskq import Client, Job, Settings
from maskq.producer.schema import Stage
from maskq.workers.local.stack import Stack
from tests.conftest import processes, until
from tests.faulty_device import HEIGHTS, crash, die, exhaust, hang, lose
from tests.integration.conftest import forgive_deaths, running_with_faults

WAIT_S = 60
ROWS = {fault: height for height, fault in HEIGHTS.items()}


@pytest.fixture(scope="module")
def stack(faults: Path) -> Iterator[Stack]:
    settings = Settings(
        devices="cpu",
        cluster_processes=1,
        torch_threads=1,
        lease_s=2,
        resend_s=2,
        max_attempts=9,
        heartbeat_s=5,
        device_limit_s=2,
    )
    with running_with_faults(settings, faults) as up:
        yield up


@pytest.fixture(autouse=True)
def _forgiven(stack: Stack) -> None:
    forgive_deaths(stack)


def device() -> psutil.Process:
    (process,) = until(lambda: processes("tests.faulty_device"))
    return process


def submitted(client: Client, rows: int) -> list[Job]:
    """Five jobs; the third triggers the fault."""
    return [client.submit(np.full((height, 32), 9, np.uint8)) for height in (32, 32, rows, 32, 32)]


@pytest.mark.parametrize("fault", [crash, lose, die, hang], ids=lambda fault: fault.__name__)
def test_a_device_that_fails_has_its_process_replaced_and_every_job_is_done(
    client: Client, faults: Path, fault: Callable[[], None]
) -> None:
    before, rows = device(), ROWS[fault]
    faults.write_text(str(rows))
    jobs = submitted(client, rows)
    sizes = [job.wait(WAIT_S).size for job in jobs]
    assert sizes == [(32, 32), (32, 32), (rows, 32), (32, 32), (32, 32)]
    assert jobs[2].status().attempts[Stage.EMBED] == 2
    until(lambda: before not in processes("tests.faulty_device"))


def test_an_image_that_is_too_large_for_the_memory_is_tried_again_and_the_process_goes_on(
    client: Client, faults: Path
) -> None:
    before = device()
    faults.write_text(f"{ROWS[exhaust]} {ROWS[exhaust]}")
    jobs = submitted(client, ROWS[exhaust])
    assert [job.wait(WAIT_S).size[0] for job in jobs] == [32, 32, ROWS[exhaust], 32, 32]
    assert [job.status().attempts[Stage.EMBED] for job in jobs] == [1, 1, 3, 1, 1]
    assert device() == before


def test_a_process_that_stands_still_is_killed_and_replaced_and_every_job_is_done(client: Client) -> None:
    before = device()
    before.send_signal(signal.SIGSTOP)
    jobs = submitted(client, 32)
    until(lambda: before not in processes("tests.faulty_device"), deadline=30)
    assert all(job.wait(WAIT_S).size == (32, 32) for job in jobs)
