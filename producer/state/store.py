"""The payload store, a claim check: images, fields and results wait here, and a message carries only a job's id.

Payloads are in the broker's Redis, or under any fsspec URL (`s3://bucket/maskq`, `file:///var/lib/maskq`).
"""

from __future__ import annotations

import errno
import math
import os
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

from ..errors import PayloadMissing, StoreFull
from .keys import Command, payload_key

if TYPE_CHECKING:
    from redis import Redis


class Payload(StrEnum):
    """The kinds of a job's payloads."""

    #: The encoded image, as it was submitted.
    IMAGE = "image"
    #: Packed foreground fields, between the two stages.
    FIELDS = "fields"
    #: The label image: 16-bit PNG, or 32-bit TIFF beyond 65,535 objects.
    LABELS = "labels"
    #: `schema.Objects` as JSON.
    OBJECTS = "objects"


class PayloadStore(Protocol):
    """Bytes by job and kind. `put` replaces: a concurrent reader gets the old bytes or the new."""

    def put(self, job_id: str, kind: Payload, data: bytes) -> None:
        """Store a payload. Raises `StoreFull`."""
        ...

    def get(self, job_id: str, kind: Payload) -> bytes:
        """Read a payload. Raises `PayloadMissing`."""
        ...

    def check_room(self, size: int) -> None:
        """For producers: raises `StoreFull` if `size` more bytes would leave the workers no room."""
        ...

    def drop(self, job_id: str, kind: Payload) -> None:
        """Delete a payload if it is there."""
        ...

    def jobs(self) -> Iterator[tuple[str, float]]:
        """The jobs that have payloads, and the age of the newest (seconds); none if payloads expire by themselves."""
        ...


@contextmanager
def redis_full_as_store_full() -> Iterator[None]:
    """Turn the errors of a Redis without free memory into `StoreFull`."""
    from redis.exceptions import ExecAbortError, OutOfMemoryError

    try:
        yield
    except (OutOfMemoryError, ExecAbortError) as error:
        if not isinstance(error, OutOfMemoryError) and "OOM" not in str(error):
            raise
        raise StoreFull(
            f"Redis is full: {error}; wait until workers have done more, or give it more (maxmemory)"
        ) from error


#: A Redis value has 512 MB at most. A payload longer than this is kept in pieces, the fields of a hash (bytes).
_PIECE = 256 << 20
#: The share of Redis's memory that producers may fill, and how long an answer about its memory is cached (seconds).
_PRODUCERS_SHARE, _MEMORY_CACHE_S = 0.9, 0.5


class RedisStore:
    """Payloads in Redis. Each is stored with an expiry of `retention_s` seconds, so a crashed process leaves none.

    The ledger's transitions remove the expiry while a job needs the payload, and set the job's own at the job's end.
    """

    def __init__(self, redis: Redis, retention_s: int) -> None:
        self._redis, self._retention_s = redis, retention_s
        self._memory, self._memory_read_at = (0, 0), -math.inf

    def check_room(self, size: int) -> None:
        """Raises `StoreFull` if Redis would use more than nine tenths of its `maxmemory`."""
        if time.monotonic() - self._memory_read_at > _MEMORY_CACHE_S:
            info = cast("dict[str, int]", self._redis.info("memory"))
            self._memory, self._memory_read_at = (info["used_memory"], info["maxmemory"]), time.monotonic()
        used, limit = self._memory
        if limit and used + size > _PRODUCERS_SHARE * limit:
            raise StoreFull(
                f"Redis uses {used:,} of {limit:,} bytes, and the last tenth is for the workers; wait until they have "
                f"done more, or give it more (maxmemory)"
            )

    def put(self, job_id: str, kind: Payload, data: bytes) -> None:
        """Store a payload. Raises `StoreFull`."""
        with redis_full_as_store_full():
            if self.is_small(data):
                self._redis.execute_command(*self.put_command(job_id, kind, data))  # type: ignore[no-untyped-call]
            else:
                self._put_pieces(payload_key(job_id, kind), data)

    def is_small(self, data: bytes) -> bool:
        """Whether the payload is kept in one piece."""
        return len(data) <= _PIECE

    def put_command(self, job_id: str, kind: Payload, data: bytes) -> Command:
        """The command that stores a small payload."""
        return self._set(payload_key(job_id, kind), data)

    def stage_command(self, job_id: str, kind: Payload, data: bytes, owner: str) -> Command:
        """The command that stages a small payload for a claim's owner: the ledger's `finish` makes it the job's own."""
        return self._set(f"{payload_key(job_id, kind)}:{owner}", data)

    def _set(self, key: str, data: bytes) -> Command:
        return ("SET", key, data, "EX", self._retention_s)

    def get_command(self, job_id: str, kind: Payload) -> Command:
        """The command that reads a payload: an error if it is in pieces, nil if it is gone."""
        return ("GET", payload_key(job_id, kind))

    def get_all_command(self, job_id: str, kinds: Iterable[Payload]) -> Command:
        """The command that reads several payloads: nil for each that is in pieces or gone."""
        return ("MGET", *(payload_key(job_id, kind) for kind in kinds))

    def _put_pieces(self, key: str, data: bytes) -> None:
        """Store under another name first, so that the payload appears whole. What is there always has an expiry."""
        part = f"{key}:{uuid.uuid4().hex}.part"
        try:
            for number, start in enumerate(range(0, len(data), _PIECE)):
                with self._redis.pipeline(transaction=True) as pipe:
                    pipe.hset(part, str(number), memoryview(data)[start : start + _PIECE])
                    pipe.expire(part, self._retention_s)
                    pipe.execute()
            self._redis.rename(part, key)
        except BaseException:
            with suppress(Exception):  # if Redis is gone, the expiry cleans up
                self._redis.delete(part)
            raise

    def get(self, job_id: str, kind: Payload) -> bytes:
        """Read a payload. Raises `PayloadMissing`."""
        from redis.exceptions import ResponseError

        key = payload_key(job_id, kind)
        try:
            data = cast("bytes | None", self._redis.get(key))
        except ResponseError:  # the wrong type: it is in pieces
            pieces = cast("dict[bytes, bytes]", self._redis.hgetall(key))
            data = b"".join(pieces[number] for number in sorted(pieces, key=int)) if pieces else None
        if data is None:
            raise _missing(job_id, kind)
        return data

    def drop(self, job_id: str, kind: Payload) -> None:
        """Delete a payload if it is there."""
        self._redis.delete(payload_key(job_id, kind))

    def jobs(self) -> Iterator[tuple[str, float]]:
        """None: payloads expire by themselves."""
        return iter(())


#: How a file system reports that there is no room: on the disk, in the user's quota, in one file.
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def _put_atomically(path: Path, data: bytes) -> None:
    """Write under another name first. Nothing is left if there was no room."""
    part = path.with_name(f"{path.name}.{uuid.uuid4().hex}.part")
    try:
        part.write_bytes(data)
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


class FsspecStore:
    """Payloads as files under an fsspec URL. They don't expire.

    Workers drop a job's payloads with the job; `maskq gc` finds what a crashed producer has left.
    """

    def __init__(self, url: str) -> None:
        self._url, self._pid = url, 0
        self._open()

    def _open(self) -> None:
        import fsspec

        # A cached listing would hide what other processes have written since.
        self._opened, self._root = fsspec.core.url_to_fs(self._url, use_listings_cache=False)
        protocol = self._opened.protocol
        protocols = {protocol} if isinstance(protocol, str) else set(protocol)
        self._is_local = "file" in protocols
        # s3fs asks for an object's size before it reads the object, unless told not to read pieces side by side.
        self._read_options = {"max_concurrency": 1} if "s3" in protocols else {}
        self._pid = os.getpid()

    @property
    def _fs(self) -> Any:
        """The file system. A fork opens its own: those of object stores work in one process only."""
        if self._pid != os.getpid():
            self._open()
        return self._opened

    def _path(self, job_id: str, kind: Payload) -> str:
        return f"{self._root}/{job_id}/{kind}"

    def put(self, job_id: str, kind: Payload, data: bytes) -> None:
        """Store a payload as a file, which appears whole. Raises `StoreFull`."""
        path = self._path(job_id, kind)
        try:
            if self._is_local:
                self._fs.makedirs(f"{self._root}/{job_id}", exist_ok=True)
                _put_atomically(Path(path), data)
            else:  # in an object store, a file appears whole
                self._fs.pipe_file(path, data)
        except OSError as error:
            if error.errno not in _NO_ROOM:
                raise
            raise StoreFull(f"no room for {len(data):,} bytes in {self._root}: {error.strerror}") from error

    def get(self, job_id: str, kind: Payload) -> bytes:
        """Read a payload. Raises `PayloadMissing`."""
        try:
            return cast(bytes, self._fs.cat_file(self._path(job_id, kind), **self._read_options))
        except FileNotFoundError as error:
            raise _missing(job_id, kind) from error

    def check_room(self, size: int) -> None:
        """No check: such a store's capacity is unknown, and `put` raises if it is full."""

    def drop(self, job_id: str, kind: Payload) -> None:
        """Delete a payload, and the job's folder with its last one."""
        try:
            self._fs.rm_file(self._path(job_id, kind))
            if self._is_local:
                Path(self._root, job_id).rmdir()
        except OSError:  # it is not there, or the job has other payloads
            return

    def jobs(self) -> Iterator[tuple[str, float]]:
        """The jobs that have payloads, and the age of the newest (seconds)."""
        for folder in self._fs.ls(self._root, detail=False) if self._fs.exists(self._root) else ():
            times = [self._fs.modified(file).timestamp() for file in self._fs.ls(folder, detail=False)]
            yield folder.rstrip("/").rpartition("/")[2], time.time() - max(times, default=0.0)


def open_store(url: str, redis: Redis, retention_s: int) -> PayloadStore:
    """The store that `MASKQ_STORE_URL` names; `redis` is the broker's own."""
    return RedisStore(redis, retention_s) if url == "redis" else FsspecStore(url)


def _missing(job_id: str, kind: Payload) -> PayloadMissing:
    return PayloadMissing(f"job {job_id}: the store has no {kind} of it any more (is its retention time over?)")
