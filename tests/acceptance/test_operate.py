"""The operator's commands: `maskq devices`, `stats`, `bench`, `dead`, `gc`."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from redis import Redis

from maskq import Client, Settings
from maskq.producer.schema import Stage
from maskq.producer.state.ledger import Claim, Ledger
from maskq.workers.local.stack import Stack, running
from tests.acceptance.pictures import ten_pieces
from tests.acceptance.processes import marked, maskq
from tests.conftest import until


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with running(Settings(devices="cpu", cluster_processes=1)) as stack:
        yield stack


@pytest.fixture
def env(stack: Stack) -> dict[str, str]:
    return {"MASKQ_BROKER_URL": stack.settings.broker_url or ""}


def test_devices_shows_this_machines_devices_and_refuses_others() -> None:
    shown = maskq("devices", "--json")
    assert shown.returncode == 0, shown.stderr
    cpu, *_, configured = map(json.loads, shown.stdout.splitlines())
    assert cpu["device"] == "cpu"
    assert cpu["cores"] >= 1
    assert configured["processes"]
    refused = maskq("devices", "--devices", "cpu,cuda:99=on")
    assert refused.returncode == 2
    assert "entry 2" in refused.stdout
    assert "cuda:99" in refused.stdout


def test_a_wrong_specification_is_refused_before_anything_starts(tmp_path: Path) -> None:
    refused = maskq("run", *(path for path, _ in ten_pieces(tmp_path)[:1]), "--out", tmp_path, "--devices", "cpu=fast")
    assert refused.returncode == 2
    assert "entry 1" in refused.stderr


def test_stats_shows_the_queues_and_every_device(stack: Stack, env: dict[str, str], tmp_path: Path) -> None:
    with Client(settings=stack.settings) as client:
        list(client.map([path for path, _ in ten_pieces(tmp_path)[:2]]))

    def stats_of_two_images() -> dict[str, Any] | None:
        stats: dict[str, Any] = json.loads(maskq("stats", "--json", env=env).stdout)
        (device,) = stats["devices"].values() or [{"images": 0}]
        return stats if device["images"] >= 2 else None

    stats = until(stats_of_two_images)
    assert stats["unfinished"] == 0
    assert set(stats["queues"]) == {"embed.fixed", "embed.varied", "cluster"}
    table = maskq("stats", env=env)
    assert "cudnn benchmark" in table.stdout
    assert 'maskq_jobs_waiting{queue="cluster"} 0' in maskq("stats", "--metrics", env=env).stdout


def test_bench_writes_a_trace_and_its_picture_and_leaves_nothing_behind(tmp_path: Path) -> None:
    pieces, mark = [path for path, _ in ten_pieces(tmp_path / "in")], uuid.uuid4().hex
    trace = tmp_path / "trace.json"
    done = maskq(
        "bench", *pieces, "--seconds", "3", "--trace", trace, "--json", "--devices", "cpu", "--cluster-processes", "1",
        env={"MASKQ_TEST_MARK": mark},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["images_per_second"] > 0
    assert 0.5 < report["device_busy"] <= 1
    names = {event["name"] for event in json.loads(trace.read_text())["traceEvents"]}
    assert {"claim", "decode", "fields", "wait", "forward", "finish", "cluster", "describe", "encode"} <= names
    with Image.open(trace.with_suffix(".png")) as picture:
        assert len(np.unique(np.asarray(picture.convert("RGB")).reshape(-1, 3), axis=0)) > 10
    assert marked(mark) == []


def test_dead_letters_are_listed_shown_requeued_and_dropped(redis_url: str, redis: Redis) -> None:
    ledger, env = Ledger(redis, max_attempts=1), {"MASKQ_BROKER_URL": redis_url}
    with Client(redis_url) as client:
        for n, reason in enumerate(("MemoryError: 2 GiB", "OSError: No space left")):
            job = client.submit(bytes([n]), name=f"{n}.png")
            ledger.claim(Claim(job.id, Stage.EMBED, "one"), worker="gpu0@here")
            ledger.release(Claim(job.id, Stage.EMBED, "one"), reason)
    listed = maskq("dead", "list", "--reason", "no space", env=env)
    assert "1.png" in listed.stdout
    assert "0.png" not in listed.stdout
    assert "gpu0@here" in maskq("dead", "show", env=env).stdout
    assert "which?" in maskq("dead", "drop", env=env).stderr
    assert maskq("dead", "requeue", "--reason", "memory", env=env).stdout == "1 tried again\n"
    assert maskq("dead", "drop", "--all", env=env).stdout == "1 dropped\n"
    assert maskq("dead", "list", "--json", env=env).stdout == ""
    assert maskq("dead", "show", "no-such-job", env=env).returncode == 1
    swept = maskq("gc", "--dry-run", "--json", env=env)
    assert json.loads(swept.stdout) == {"jobs": 0, "orphans": 0}
