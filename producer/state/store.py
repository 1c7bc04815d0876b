"""The payload store, a claim check: images, fields and results wait here, and messages carry only a job's id.

Payloads live in the broker's Redis, or under any fsspec URL (`s3://bucket/maskq`, `file:///var/lib/maskq`).
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
from .keys import PREFIX, Command

if TYPE_CHECKING:
    from redis import Redis


class Payload(StrEnum):
    """What is stored of a job."""

    #: The encoded image, as sent.
    IMAGE = "image"
    #: Packed foreground fields, between the two stages.
    FIELDS = "fields"
    #: The label image: 16-bit PNG, or 32-bit TIFF beyond 65,535 objects.
    LABELS = "labels"
    #: `contract.Objects` as JSON.
    OBJECTS = "objects"


class PayloadStore(Protocol):
    """Bytes by job and kind. Putting replaces, and who reads meanwhile gets the old or the new; dropping what is not
    there is no error.
    """

    def put(self, job_id: str, kind: Payload, data: bytes) -> None:
        """Raises `StoreFull`."""
        ...

    def get(self, job_id: str, kind: Payload) -> bytes:
        """Raises `PayloadMissing`."""
        ...

    def check_room(self, size: int) -> None:
        """For those who bring work: raises `StoreFull` where as many bytes would leave workers no room to do it."""
        ...

    def drop(self, job_id: str, kind: Payload) -> None: ...

    def jobs(self) -> Iterator[tuple[str, float]]:
        """The jobs that the store has something of, and the seconds since that was put there; where payloads end by
        themselves, none.
        """
        ...


@contextmanager
def room_in_redis() -> Iterator[None]:
    """Within, what Redis says where it may hold no more is `StoreFull`."""
    from redis.exceptions import ExecAbortError, OutOfMemoryError

    try:
        yield
    except (OutOfMemoryError, ExecAbortError) as error:
        if not isinstance(error, OutOfMemoryError) and "OOM" not in str(error):
            raise
        raise StoreFull(
            f"Redis is full: {error}; wait until workers have done more, or give it more (maxmemory)"
        ) from error


#: Redis holds no value of more than 512 MB: what is longer than this is kept in pieces, a hash's fields.
_PIECE = 256 << 20
#: The part of Redis's memory that producers may fill, and how long an answer about that holds, seconds.
_PRODUCERS, _ASK_AGAIN_S = 0.9, 0.5


class RedisStore:
    """Payloads in Redis. Each is put with an end, `retention_s` seconds later, so that none is left behind by who dies.

    The ledger moves it: what a job still needs has none until the job has ended, and from then on the job's own.
    """

    def __init__(self, redis: Redis, retention_s: int) -> None:
        self._redis, self._retention_s = redis, retention_s
        self._memory, self._asked = (0, 0), -math.inf

    def check_room(self, size: int) -> None:
        if time.monotonic() - self._asked > _ASK_AGAIN_S:
            found = cast("dict[str, int]", self._redis.info("memory"))
            self._memory, self._asked = (found["used_memory"], found["maxmemory"]), time.monotonic()
        used, most = self._memory
        if most and used + size > _PRODUCERS * most:
            raise StoreFull(
                f"Redis uses {used:,} of {most:,} bytes, and the last tenth is for the workers; wait until they have "
                f"done more, or give it more (maxmemory)"
            )

    def put(self, job_id: str, kind: Payload, data: bytes) -> None:
        with room_in_redis():
            if self.is_small(data):
                self._redis.execute_command(*self.putting(job_id, kind, data))  # type: ignore[no-untyped-call]
            else:
                self._put_pieces(_key(job_id, kind), data)

    def is_small(self, data: bytes) -> bool:
        """Whether it is kept in one piece."""
        return len(data) <= _PIECE

    def putting(self, job_id: str, kind: Payload, data: bytes) -> Command:
        """What Redis is told to put it, if it is small."""
        return self._set(_key(job_id, kind), data)

    def aside(self, job_id: str, kind: Payload, data: bytes, owner: str) -> Command:
        """The same, but where only the ledger looks for what an owner has made."""
        return self._set(f"{_key(job_id, kind)}:{owner}", data)

    def _set(self, key: str, data: bytes) -> Command:
        return ("SET", key, data, "EX", self._retention_s)

    def reading(self, job_id: str, kind: Payload) -> Command:
        """What Redis is asked for it; it answers with an error where it is not small, and nothing where it is gone."""
        return ("GET", _key(job_id, kind))

    def _put_pieces(self, key: str, data: bytes) -> None:
        """Under another name first, so that the payload appears whole; what is there of it always has its end."""
        part = f"{key}:{uuid.uuid4().hex}.part"
        try:
            for number, start in enumerate(range(0, len(data), _PIECE)):
                with self._redis.pipeline(transaction=True) as both:
                    both.hset(part, str(number), memoryview(data)[start : start + _PIECE])
                    both.expire(part, self._retention_s)
                    both.execute()
            self._redis.rename(part, key)
        except BaseException:
            with suppress(Exception):  # where Redis is gone, the retention time has to do
                self._redis.delete(part)
            raise

    def get(self, job_id: str, kind: Payload) -> bytes:
        from redis.exceptions import ResponseError

        key = _key(job_id, kind)
        try:
            data = cast("bytes | None", self._redis.get(key))
        except ResponseError:  # of the wrong type: it is in pieces
            pieces = cast("dict[bytes, bytes]", self._redis.hgetall(key))
            data = b"".join(pieces[number] for number in sorted(pieces, key=int)) if pieces else None
        if data is None:
            raise _missing(job_id, kind)
        return data

    def reading_all(self, job_id: str, kinds: Iterable[Payload]) -> Command:
        """What Redis is asked for several; it answers with nothing for each that is not small, or gone."""
        return ("MGET", *(_key(job_id, kind) for kind in kinds))

    def drop(self, job_id: str, kind: Payload) -> None:
        self._redis.delete(_key(job_id, kind))

    def jobs(self) -> Iterator[tuple[str, float]]:
        return iter(())  # each payload has its end, or that of its job


#: How a file system says that there is no room: on the disk, in the user's part of it, in one file.
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def _put_whole(path: Path, data: bytes) -> None:
    """Under another name first, of which nothing is left where there was no room for it."""
    part = path.with_name(f"{path.name}.{uuid.uuid4().hex}.part")
    try:
        part.write_bytes(data)
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


class FsspecStore:
    """Payloads as files under an fsspec URL. They have no end of their own.

    Workers drop those of a job when they forget the job; `maskq gc` finds what a producer that died has left.
    """

    def __init__(self, url: str) -> None:
        self._url, self._pid = url, 0
        self._open()

    def _open(self) -> None:
        import fsspec

        self._opened, self._root = fsspec.core.url_to_fs(self._url, auto_mkdir=True)
        self._pid = os.getpid()

    @property
    def _fs(self) -> Any:
        """The file system; a fork opens its own, for those of object stores work in one process only."""
        if self._pid != os.getpid():
            self._open()
        return self._opened

    def _path(self, job_id: str, kind: Payload) -> str:
        return f"{self._root}/{job_id}/{kind}"

    def put(self, job_id: str, kind: Payload, data: bytes) -> None:
        path = self._path(job_id, kind)
        try:
            self._fs.makedirs(f"{self._root}/{job_id}", exist_ok=True)
            if "file" in self._fs.protocol:
                _put_whole(Path(path), data)
            else:  # object stores make a file appear whole
                self._fs.pipe_file(path, data)
        except OSError as error:
            if error.errno not in _NO_ROOM:
                raise
            raise StoreFull(f"no room for {len(data):,} bytes in {self._root}: {error.strerror}") from error

    def get(self, job_id: str, kind: Payload) -> bytes:
        try:
            return cast(bytes, self._fs.cat_file(self._path(job_id, kind)))
        except FileNotFoundError as error:
            raise _missing(job_id, kind) from error

    def check_room(self, size: int) -> None:
        """Nothing is asked: how much such a store holds is its own affair, and `put` tells when it is full."""

    def drop(self, job_id: str, kind: Payload) -> None:
        try:
            self._fs.rm_file(self._path(job_id, kind))
            if "file" in self._fs.protocol:
                Path(self._root, job_id).rmdir()
        except OSError:  # it is not there, or others of the job's are
            return

    def jobs(self) -> Iterator[tuple[str, float]]:
        for folder in self._fs.ls(self._root, detail=False) if self._fs.exists(self._root) else ():
            times = [self._fs.modified(file).timestamp() for file in self._fs.ls(folder, detail=False)]
            yield folder.rstrip("/").rpartition("/")[2], time.time() - max(times, default=0.0)


def open_store(url: str, redis: Redis, retention_s: int) -> PayloadStore:
    """The store that a `MASKQ_STORE_URL` names: `redis` is the broker's own."""
    return RedisStore(redis, retention_s) if url == "redis" else FsspecStore(url)


def _key(job_id: str, kind: Payload) -> str:
    return f"{PREFIX}payload:{job_id}:{kind}"


def _missing(job_id: str, kind: Payload) -> PayloadMissing:
    return PayloadMissing(f"job {job_id}: the store has no {kind} of it any more (is its retention time over?)")
