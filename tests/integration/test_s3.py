"""Jobs whose images and results are in S3: a real S3 server, real workers."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

import pytest

from examples.samples import samples
from maskq import Client, Settings
from maskq.workers.local.stack import Stack, running
from tests.conftest import until
from tests.integration.conftest import S3

WAIT_S = 120


@pytest.fixture(scope="module")
def stack(s3: S3) -> Iterator[Stack]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in s3.env.items():
            patch.setenv(name, value)
        url = f"s3://{s3.bucket}/maskq"
        with running(Settings(devices="cpu", cluster_processes=1, torch_threads=1, store_url=url)) as stack:
            yield stack


def requests(s3: S3) -> Counter[str]:
    """The requests so far, such as `PUT image`."""
    lines = re.findall(r"([A-Z]+) /\S*/(\w+) HTTP", s3.log.read_text())
    return Counter(f"{method} {name}" for method, name in lines)


def test_a_job_takes_few_requests_and_its_result_can_be_read_after_gc(client: Client, s3: S3) -> None:
    image = samples()[0]
    assert client.submit(image).wait(WAIT_S).objects
    until(lambda: requests(s3)["DELETE fields"])
    before = requests(s3)
    job = client.submit(image, reuse=False)
    job.wait(WAIT_S)
    puts = {f"PUT {kind}": 1 for kind in ("image", "fields", "labels", "objects")}
    gets = {f"GET {kind}": 1 for kind in ("image", "fields", "labels", "objects")}
    expected = puts | gets | {"DELETE fields": 1}
    until(lambda: (requests(s3) - before)["DELETE fields"])
    assert requests(s3) - before == expected
    assert client.gc()["orphans"] == 0
    later = client.submit(image, reuse=False)
    later.wait(WAIT_S)
    assert later.result().objects and client.drop(later.id)


def test_an_equal_job_copies_the_result_within_s3(client: Client, s3: S3) -> None:
    image = samples()[1]
    first = client.submit(image, client="a", reuse=True).wait(WAIT_S)
    until(lambda: requests(s3)["DELETE fields"])
    before = requests(s3)
    equal = client.submit(image, client="a", reuse=True)
    until(lambda: equal.state.ended)
    puts = {f"PUT {kind}": 1 for kind in ("image", "labels", "objects")}
    assert requests(s3) - before == puts | {"GET labels": 1, "GET objects": 1}
    assert equal.result().objects == first.objects and equal.result().label_file == first.label_file
