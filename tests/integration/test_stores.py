"""The payload stores: one behaviour, whatever is behind it."""

from __future__ import annotations

import itertools
import resource
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from redis.client import Pipeline
from redis.exceptions import ConnectionError, ExecAbortError, ResponseError

from maskq.producer.errors import BrokerUnavailable, PayloadMissing, StoreFull
from maskq.producer.state.pieces import Replaced, redis_full_as_store_full
from maskq.producer.state.store import Payload, PayloadStore, RedisStore, open_store
from tests.integration.conftest import S3


@pytest.fixture(scope="module")
def bucket(s3: S3) -> Iterator[str]:
    """The URL of a bucket on a real S3 server, which this process's settings name."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in s3.env.items():
            patch.setenv(name, value)
        yield f"s3://{s3.bucket}"


@pytest.fixture(params=["redis", "file", "memory", "s3"])
def store(request: pytest.FixtureRequest, redis: Redis, tmp_path: Path) -> PayloadStore:
    folder = uuid.uuid4().hex
    urls = {"redis": "redis", "file": f"file://{tmp_path}/deep/down", "memory": f"memory://{folder}"}
    url = urls.get(request.param) or f"{request.getfixturevalue('bucket')}/{folder}"
    return open_store(url, redis, 100)


def test_what_was_put_is_got_by_job_and_kind(store: PayloadStore) -> None:
    put = {(job, kind): f"{job} {kind}".encode() + bytes(range(256)) for job in ("a", "b") for kind in Payload}
    for job in ("a", "b"):
        store.put_all(job, {kind: put[job, kind] for kind in Payload})
    assert {key: store.get(*key) for key in put} == put
    assert store.get_all("a", tuple(Payload)) == tuple(put["a", kind] for kind in Payload)
    assert {key: b"".join(store.read(*key).pieces) for key in put} == put
    assert {key: store.read(*key).size for key in put} == {key: len(data) for key, data in put.items()}


@pytest.mark.parametrize(
    "data", [{Payload.LABELS: b"", Payload.OBJECTS: b""}, {Payload.LABELS: bytes(5_000_000), Payload.OBJECTS: b"{}"}]
)
def test_a_result_is_empty_or_large(store: PayloadStore, data: dict[Payload, bytes]) -> None:
    store.put_all("a", data)
    assert {kind: store.get("a", kind) for kind in data} == data
    assert {kind: b"".join(store.read("a", kind).pieces) for kind in data} == data


def test_putting_again_replaces(store: PayloadStore) -> None:
    store.put_all("a", {Payload.LABELS: b"long and old", Payload.OBJECTS: b"old"})
    store.put_all("a", {Payload.LABELS: b"new", Payload.OBJECTS: b"new and long"})
    assert store.get_all("a", (Payload.OBJECTS, Payload.LABELS)) == (b"new and long", b"new")


def test_nothing_is_something(store: PayloadStore) -> None:
    store.put("a", Payload.IMAGE, b"")
    assert store.get("a", Payload.IMAGE) == b""


def test_what_was_dropped_or_never_put_is_missing_by_name(store: PayloadStore) -> None:
    store.put("a", Payload.FIELDS, b"x")
    store.put("a", Payload.IMAGE, b"y")
    for _ in range(2):
        store.drop("a", Payload.FIELDS)
        with pytest.raises(PayloadMissing, match="job a: the store has no fields"):
            store.get("a", Payload.FIELDS)
    assert store.get("a", Payload.IMAGE) == b"y"
    store.drop("never", Payload.IMAGE)
    with pytest.raises(PayloadMissing, match="job never"):
        store.get("never", Payload.IMAGE)


def test_an_image_that_arrives_in_pieces_appears_whole_or_not_at_all(store: PayloadStore) -> None:
    pieces = [bytes([number]) * 4_000_000 for number in range(5)]
    for job, end in (("whole", "finish"), ("given up", "discard")):
        writer = store.writer(job, Payload.IMAGE)
        for piece in pieces:
            writer.write(piece)
        getattr(writer, end)()
    assert store.get("whole", Payload.IMAGE) == b"".join(pieces)
    with pytest.raises(PayloadMissing):
        store.get("given up", Payload.IMAGE)


def test_dropping_jobs_leaves_nothing_of_them(store: PayloadStore) -> None:
    for job in ("a", "b", "c"):
        store.put_all(job, dict.fromkeys(Payload, b"x"))
    store.drop_jobs(iter(("a", "b", "never")))
    for job, kind in itertools.product(("a", "b"), Payload):
        with pytest.raises(PayloadMissing):
            store.get(job, kind)
    assert store.get_all("c", tuple(Payload)) == (b"x",) * 4
    assert isinstance(store, RedisStore) or list(store.jobs()) == ["c"]


def test_what_is_dropped_soon_is_gone_after_a_flush(store: PayloadStore) -> None:
    store.put_all("a", dict.fromkeys(Payload, b"x"))
    store.drop_soon("a", Payload.FIELDS, Payload.IMAGE)
    store.flush()
    for kind in (Payload.FIELDS, Payload.IMAGE):
        with pytest.raises(PayloadMissing):
            store.get("a", kind)
    assert store.get("a", Payload.LABELS) == b"x"


def test_a_job_is_as_old_as_its_newest_payload(store: PayloadStore) -> None:
    assert list(store.jobs()) == []
    store.put("a", Payload.IMAGE, b"x")
    assert isinstance(store, RedisStore) or 0 <= store.age_s("a") < 60
    assert store.age_s("never") == 0


@pytest.mark.parametrize("piece", [1 << 20, 8 << 20])
def test_who_reads_while_another_writes_gets_the_old_or_the_new(
    store: PayloadStore, piece: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker whose lease ran out may still write what its successor has written and the next stage reads."""
    monkeypatch.setattr("maskq.producer.state.pieces.PIECE", piece)
    versions = {bytes([n]) * 4_000_000 for n in range(2)}
    store.put("a", Payload.FIELDS, min(versions))
    over = threading.Event()

    def write() -> None:
        for data in sorted(versions) * 10:
            store.put("a", Payload.FIELDS, data)
        over.set()

    writer = threading.Thread(target=write)
    writer.start()
    while not over.is_set():
        assert store.get("a", Payload.FIELDS) in versions
    writer.join()


def test_redis_forgets_after_the_retention_time(redis: Redis) -> None:
    RedisStore(redis, 100).put("a", Payload.IMAGE, b"x")
    assert {0 < redis.ttl(key) <= 100 for key in redis.scan_iter()} == {True}


def test_what_is_too_long_for_a_value_of_redis_is_kept_in_pieces(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("maskq.producer.state.pieces.PIECE", 3)
    store = RedisStore(redis, 100)
    for data in (bytes(range(40)), b"abc", b"abcd", b""):
        store.put("a", Payload.FIELDS, data)
        assert store.get("a", Payload.FIELDS) == data
        assert len(redis.keys()) == 1 and 0 < redis.ttl(redis.keys()[0]) <= 100
    store.put("a", Payload.FIELDS, b"abcdefgh")
    store.drop("a", Payload.FIELDS)
    with pytest.raises(PayloadMissing):
        store.get("a", Payload.FIELDS)
    assert redis.keys() == []


def test_pieces_never_lie_about_without_an_end(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("maskq.producer.state.pieces.PIECE", 3)
    seen: list[int] = []

    def execute(self: Pipeline, *args: Any, own: Any = Pipeline.execute, **kwargs: Any) -> Any:
        if seen:  # the second piece does not arrive
            raise ConnectionError("Redis is gone")
        done = own(self, *args, **kwargs)
        seen.extend(redis.ttl(key) for key in redis.scan_iter())
        return done

    monkeypatch.setattr(Pipeline, "execute", execute)
    with pytest.raises(ConnectionError):
        RedisStore(redis, 100).put("a", Payload.FIELDS, b"abcdefgh")
    assert len(seen) == 1 and 0 < seen[0] <= 600
    assert redis.keys() == []


def test_pieces_that_go_while_they_are_read_are_missing(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("maskq.producer.state.pieces.PIECE", 3)
    store = RedisStore(redis, 100)
    store.put("a", Payload.FIELDS, b"abcdefgh")
    reader = store.read("a", Payload.FIELDS)
    assert (reader.size, next(reader.pieces), next(reader.pieces)) == (8, b"abc", b"def")
    redis.delete("maskq:payload:a:fields")
    with pytest.raises(Replaced):
        next(reader.pieces)
    with pytest.raises(PayloadMissing, match="job a: the store has no fields"):
        store.get("a", Payload.FIELDS)


def test_pieces_that_are_replaced_while_they_are_read_are_read_again(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("maskq.producer.state.pieces.PIECE", 3)
    store = RedisStore(redis, 100)
    store.put("a", Payload.FIELDS, b"abcdefgh")
    versions = iter([b"ABCDEFGH", b"short", b"ABCDEFGHIJK"])

    def hmget(key: str, fields: list[str], own: Any = redis.hmget) -> Any:
        if fields[1] == "1" and (version := next(versions, None)):
            store.put("a", Payload.FIELDS, version)
        return own(key, fields)

    monkeypatch.setattr(redis, "hmget", hmget)
    assert store.get("a", Payload.FIELDS) == b"ABCDEFGHIJK"


def test_what_arrives_in_pieces_is_there_when_it_is_whole(store: PayloadStore) -> None:
    written = [bytes([number]) * 1000 for number in range(5)]
    writer = store.writer("a", Payload.IMAGE)
    for piece in written:
        writer.write(piece)
    writer.finish()
    assert store.get("a", Payload.IMAGE) == b"".join(written)
    reader = store.read("a", Payload.IMAGE)
    assert (reader.size, b"".join(reader.pieces)) == (5000, b"".join(written))
    store.drop("a", Payload.IMAGE)
    with pytest.raises(PayloadMissing, match="job a: the store has no image"):
        store.read("a", Payload.IMAGE)


@pytest.mark.parametrize("pieces", [0, 1, 2])
def test_nothing_is_left_of_what_did_not_arrive(store: PayloadStore, redis: Redis, tmp_path: Path, pieces: int) -> None:
    for finished in (False, True):
        writer = store.writer("a", Payload.IMAGE)
        for _ in range(pieces):
            writer.write(bytes(1000))
        if finished and pieces:
            writer.finish()
        writer.discard()
        with pytest.raises(PayloadMissing):
            store.get("a", Payload.IMAGE)
    assert [*redis.scan_iter(), *tmp_path.rglob("*/a/*")] == []
    assert list(store.jobs()) == []


def test_what_redis_loses_while_it_arrives_is_never_taken_for_whole(redis: Redis) -> None:
    writer = RedisStore(redis, 100).writer("a", Payload.IMAGE)
    for _ in range(3):
        writer.write(b"piece")
    redis.hdel("maskq:payload:a:image", "1")
    with pytest.raises(BrokerUnavailable, match="lost a part"):
        writer.finish()
    assert redis.keys() == []


def test_an_arrival_in_a_folder_with_no_room_is_full_by_name(redis: Redis, tmp_path: Path) -> None:
    writer = open_store(f"file://{tmp_path}", redis, 100).writer("a", Payload.IMAGE)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(StoreFull, match="no room in .*: File too large"):
            writer.write(bytes(100_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    writer.discard()
    assert [*tmp_path.rglob("*")] == []


def test_a_folder_is_left_with_whole_files_only(redis: Redis, tmp_path: Path) -> None:
    store = open_store(f"file://{tmp_path}", redis, 100)
    for _ in range(2):
        store.put("a", Payload.IMAGE, b"x")
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["image"]


def test_a_folder_with_no_room_is_full_by_name_and_keeps_no_part(redis: Redis, tmp_path: Path) -> None:
    store = open_store(f"file://{tmp_path}", redis, 100)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(StoreFull, match="no room in .*: File too large"):
            store.put("a", Payload.IMAGE, bytes(1001))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_transaction_that_finds_no_room_is_full_by_name_and_another_fault_is_not() -> None:
    with pytest.raises(StoreFull), redis_full_as_store_full():
        raise ExecAbortError("Transaction discarded because of: OOM command not allowed when used memory > 'maxmemory'")
    with pytest.raises(StoreFull), redis_full_as_store_full():  # what Redis 6 says of a script
        raise ResponseError("Error running script (call to f_0): @user_script: 8: -OOM command not allowed when used")
    with pytest.raises(ExecAbortError), redis_full_as_store_full():
        raise ExecAbortError("Transaction discarded because of previous errors.")


def test_a_redis_with_no_room_is_full_by_name(redis: Redis) -> None:
    store = RedisStore(redis, 100)
    redis.config_set("maxmemory", 1)
    try:
        with pytest.raises(StoreFull, match="Redis is full"):
            store.put("a", Payload.IMAGE, b"x")
    finally:
        redis.config_set("maxmemory", 0)
