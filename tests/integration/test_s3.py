"""Jobs whose images and results are in S3: a real S3 server, real workers."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

import httpx
import pytest

from examples.samples import samples
from maskq import Client, Settings
from maskq.producer.errors import StoreUnavailable
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
        assert "fields" not in objects(s3), "workers delete what waits to be deleted before they end"


def requests(s3: S3) -> Counter[str]:
    """The requests so far, such as `PUT image`; `POST delete` deletes up to a thousand objects."""
    lines = re.findall(r'"([A-Z]+) (\S+) HTTP', s3.log.read_text())
    names = (f"{method} {'delete' if '?delete' in path else path.rpartition('/')[2]}" for method, path in lines)
    return Counter(name for name in names if name != f"GET {s3.bucket}")


def objects(s3: S3) -> set[str]:
    """The last names of the objects of all jobs, such as `image`."""
    listing = httpx.get(f"{s3.env['AWS_ENDPOINT_URL']}/{s3.bucket}").text
    return {key.rpartition("/")[2] for key in re.findall("<Key>(.*?)</Key>", listing)}


#: The requests of a job, by name, which are all.
EACH = [f"{method} {name}" for name in ("image", "fields", "result") for method in ("PUT", "GET")]


def test_jobs_take_six_requests_each_and_one_for_what_all_of_them_leave(client: Client, s3: S3) -> None:
    image = samples()[0]
    assert client.submit(image).wait(WAIT_S).objects
    until(lambda: "fields" not in objects(s3), WAIT_S)
    before = requests(s3)
    jobs = [client.submit(image, reuse=False) for _ in range(12)]
    for job in jobs:
        assert job.wait(WAIT_S).objects
    until(lambda: "fields" not in objects(s3), WAIT_S)
    taken = requests(s3) - before
    deletions = taken.pop("POST delete")
    assert taken == dict.fromkeys(EACH, len(jobs))
    assert deletions <= 3, "fields are deleted by the thousand, every ten seconds"


def test_the_result_can_be_read_after_gc_which_asks_for_jobs_by_the_thousand(client: Client, s3: S3) -> None:
    job = client.submit(samples()[0], reuse=False)
    assert job.wait(WAIT_S).objects
    before = requests(s3)
    assert client.gc()["orphans"] == 0
    assert sum((requests(s3) - before).values()) == 1
    later = client.submit(samples()[0], reuse=False)
    later.wait(WAIT_S)
    assert later.result().objects
    before = requests(s3)
    assert client.drop(later.id)
    assert requests(s3) - before == {"POST delete": 1}


def test_an_equal_job_copies_the_result(client: Client, s3: S3) -> None:
    image = samples()[1]
    first = client.submit(image, client="a", reuse=True).wait(WAIT_S)
    until(lambda: "fields" not in objects(s3), WAIT_S)
    before = requests(s3)
    equal = client.submit(image, client="a", reuse=True)
    until(lambda: equal.state.ended)
    assert requests(s3) - before == {"PUT image": 1, "GET result": 1, "PUT result": 1}
    assert equal.result().objects == first.objects and equal.result().label_file == first.label_file


def test_no_job_is_lost_and_no_attempt_counts_while_s3_refuses(client: Client, s3: S3) -> None:
    def refuse(after: float) -> None:
        httpx.post(f"{s3.env['AWS_ENDPOINT_URL']}/moto-api/reset-auth", content=str(after)).raise_for_status()

    def refusals() -> int:
        return len(re.findall(r'/(?:image|fields|result) HTTP/\S+" 403', s3.log.read_text()))

    jobs = [client.submit(samples()[0], reuse=False) for _ in range(8)]
    before = refusals()
    refuse(after=0)
    try:
        until(lambda: refusals() >= before + 4, WAIT_S)
        with pytest.raises(StoreUnavailable, match="correct AWS_ACCESS_KEY_ID"):
            client.submit(samples()[0])
    finally:
        refuse(after=float("inf"))
    for job in jobs:
        assert job.wait(WAIT_S).objects
        assert set(job.status().attempts.values()) == {1}
