"""Large jobs of one client in a real stack, and a small job of another that comes after them."""

from __future__ import annotations

import io
from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image

from maskq import Client, Options, Settings
from maskq.producer.schema import State
from maskq.workers.local.stack import Stack, running
from tests.conftest import png, until

#: A blank picture whose eight views are 9.7 megapixels: a large job of a few kilobytes.
LARGE, SMALL = png(np.zeros((1100, 1100), np.uint8)), png(np.zeros((64, 64), np.uint8))
WAIT_S = 240


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    """A device with one core and two jobs at once."""
    with running(Settings(devices="cpu", torch_threads=1, device_threads=2, cluster_processes=1)) as stack:
        yield stack


def test_a_small_job_goes_between_the_views_of_a_large_one(client: Client) -> None:
    """Four uploads of 47 kB once made another client's job of a second wait for three minutes."""
    client.submit(SMALL).wait(WAIT_S)
    until(lambda: any("threads" in device for device in client.stats().devices.values()))
    large = [client.submit(LARGE, client="one", options=Options(tta=True), reuse=False) for _ in range(3)]
    until(lambda: large[0].state is State.EMBEDDING)
    small = client.submit(SMALL, client="two", reuse=False)
    small.wait(WAIT_S)
    assert [job.state for job in large] == [State.EMBEDDING, State.QUEUED, State.QUEUED]
    large[0].wait(WAIT_S)
    small_s, large_s = (job.status().times[State.DONE] for job in (small, large[0]))
    assert small_s < large_s
    for job in large[1:]:
        job.cancel()


def test_a_job_whose_size_the_producer_does_not_know_is_found_to_be_large(client: Client) -> None:
    file = io.BytesIO()
    Image.new("L", (1100, 1100)).save(file, "JPEG2000")
    large = [client.submit(file.getvalue(), client="one", options=Options(tta=True), reuse=False) for _ in range(2)]
    until(lambda: sorted(str(job.state) for job in large) == ["embedding", "queued"], 60)
    small = client.submit(SMALL, client="two", reuse=False)
    small.wait(WAIT_S)
    assert sorted(job.state for job in large) == [State.EMBEDDING, State.QUEUED]
    for job in large:
        job.cancel()
