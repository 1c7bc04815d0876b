"""KEYS.md lists exactly the keys, and the fields of a job, that a running stack writes."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

import numpy as np
import pytest
from redis import Redis

from maskq import Client, JobUnfinished, Limits, Settings
from maskq.producer.schema import JobSpec, Stage, State
from maskq.producer.state import ledger as ledger_package
from maskq.producer.state.ledger import Claim, Identity, Ledger, Plane, Shared, StageResult
from maskq.producer.state.store import Payload
from maskq.workers.local.stack import running
from tests.conftest import png, text, until

PAGE = (Path(ledger_package.__file__).parent / "KEYS.md").read_text()
#: Keys that this run can't make: large payloads, a lane of another device, and the one that never exists.
UNSEEN = {"maskq:payload:<id>:<kind>:<token>.part", "maskq:nothing"}
KOMBU = ("embed.*", "cluster*", "_kombu.*", "*.pidbox", "celeryev*", "unacked*")


def rows(first: str) -> dict[str, list[str]]:
    """The rows of the tables with the first column `first`: the code in that column → the other columns."""
    found: dict[str, list[str]] = {}
    for table in re.findall(rf"\| {first} \|.*\n\|[-|]+\n((?:\|.*\n)+)", PAGE):
        for line in table.splitlines():
            name, *others = (cell.strip() for cell in line.strip("|").split(" | "))
            found[name.strip("` ")] = others
    return found


def pattern(name: str) -> re.Pattern[str]:
    """`maskq:job:<id>` as a regular expression; an id and a token are hexadecimal, anything else has no colon."""
    escaped = re.sub(
        r"<(\w+)>", lambda part: r"[0-9a-f]{32}(-\d{5})?" if part[1] in ("id", "owner", "token") else r"[^:]*", name
    )
    return re.compile(escaped)


@pytest.fixture(scope="module")
def seen(redis_url: str) -> Iterator[tuple[dict[str, str], set[str]]]:
    """Every key that was written, with its type (empty if it was deleted at once), and the fields of the jobs."""
    settings = Settings(
        broker_url=redis_url, devices="cpu;lanes=fixed", lane_s=1, cluster_processes=1, reuse=True, retention_s=60
    )
    with Redis.from_url(redis_url) as redis:
        redis.flushall()
        watch = Watch(redis)
        with running(settings), Client(settings=settings) as client:
            work(client, watch)
            until(lambda: not redis.xlen("maskq:endings"))
        misfortunes(Ledger(redis, max_attempts=2, window=1), watch)
        watch.close()
        redis.flushall()
    yield {name: watch.types.get(name, "") for name in watch.names | watch.types.keys()}, watch.fields


class Watch:
    """Records every key that is written, from Redis's notifications; `snapshot` adds the types and the jobs' fields."""

    def __init__(self, redis: Redis) -> None:
        self.names: set[str] = set()
        self.types: dict[str, str] = {}
        self.fields: set[str] = set()
        self._redis, self._stop = redis, threading.Event()
        redis.config_set("notify-keyspace-events", "KEA")
        self._pubsub = redis.pubsub(ignore_subscribe_messages=True)  # type: ignore[no-untyped-call]
        self._pubsub.psubscribe("__keyspace@0__:*")
        self._thread = threading.Thread(target=self._collect)
        self._thread.start()

    def _collect(self) -> None:
        while not self._stop.is_set():
            if message := self._pubsub.get_message(timeout=0.2):
                self.names.add(message["channel"].decode().removeprefix("__keyspace@0__:"))

    def snapshot(self) -> None:
        for key in self._redis.scan_iter():
            self.types[text(key)] = kind = text(self._redis.type(key))
            if kind == "hash" and key.startswith(b"maskq:job:"):
                self.fields |= {text(field) for field in self._redis.hkeys(key)}

    def close(self) -> None:
        self.snapshot()
        self._stop.set()
        self._thread.join()
        self._redis.config_set("notify-keyspace-events", "")


def work(client: Client, watch: Watch) -> None:
    """Jobs that are done, repeated, cancelled, expired and failed by a real stack."""
    image = png(np.random.default_rng(0).integers(0, 255, (64, 64), np.uint8))
    jobs = [client.submit(image, client=f"c{n}", reuse=False, idempotency_key=f"k{n}") for n in range(40)]
    watch.snapshot()
    same = [client.submit(image) for _ in range(2)]
    jobs.pop().cancel()
    bad = [client.submit(image, reuse=False, limits=Limits(expires_s=0.001)), client.submit(b"not an image")]
    for job in jobs + same:
        job.wait(120)
    for job in bad:
        with pytest.raises(JobUnfinished):
            job.wait(60)
    watch.snapshot()


def misfortunes(ledger: Ledger, watch: Watch) -> None:
    """Jobs that fail, wait in line, or lose their worker; one becomes a dead letter."""
    claims = [Claim(f"{n:032x}", Stage.EMBED, f"{n:032x}") for n in range(6)]
    ledger.create(f"{6:032x}", JobSpec(), "4000x4000", b"a large image")
    for claim in claims:
        ledger.create(claim.job_id, JobSpec(), None, b"image", Identity("digest" if claim in claims[4:] else None))
    ledger.claim(claims[0])
    ledger.pause(claims[0], waits=True)
    watch.snapshot()
    ledger.finish(claims[0], StageResult("", {Payload.FIELDS: b"fields"}))
    for delay_s in (1000.0, 0.0):
        ledger.claim(claims[1])
        ledger.release(claims[1], "MemoryError", delay_s, suspect=True)
        watch.snapshot()
    assert ledger.state(claims[1].job_id) is State.DEAD
    ledger.claim(claims[2])
    for claim in claims[4:]:
        ledger.claim(claim)
    assert ledger.share(claims[5], "model") is Shared.FOLLOWS
    ledger.finish(claims[2], StageResult("", planes=[Plane(1, JobSpec(), "4x4", b"image")]))
    watch.snapshot()


def test_every_key_that_is_written_is_on_the_page_with_its_type(seen: tuple[dict[str, str], set[str]]) -> None:
    known = {name: (pattern(name), others[0]) for name, others in rows("key").items() if name.startswith("maskq:")}
    for key, kind in seen[0].items():
        if not key.startswith("maskq:"):
            assert any(fnmatch(key.removeprefix("\x00"), glob) for glob in KOMBU), f"{key} is not kombu's"
            continue
        types = [types for shape, types in known.values() if shape.fullmatch(key)]
        assert types, f"{key} is not in KEYS.md"
        assert not kind or kind.replace("zset", "sorted set") in types[0], f"{key} is a {kind}, KEYS.md says {types[0]}"


def test_every_key_on_the_page_is_written(seen: tuple[dict[str, str], set[str]]) -> None:
    for name in rows("key"):
        if name.startswith("maskq:") and name not in UNSEEN:
            assert any(pattern(name).fullmatch(key) for key in seen[0]), f"nothing wrote {name}"


def test_every_field_of_a_job_is_on_the_page(seen: tuple[dict[str, str], set[str]]) -> None:
    known = [pattern(name) for name in rows("field")]
    assert {field for field in seen[1] if not any(shape.fullmatch(field) for shape in known)} == set()
    assert {"spec", "state", "owner", "worker", "time:done", "attempts:embed", "error"} <= seen[1]
