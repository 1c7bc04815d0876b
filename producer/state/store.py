"""The payload store, a claim check: images, fields and results wait here, and a message carries only a job's id.

Payloads are in the broker's Redis, or under any fsspec URL (`s3://bucket/maskq`, `file:///var/lib/maskq`).
"""

from __future__ import annotations

import logging
import math
import os
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

from ..errors import PayloadMissing, StoreFull
from . import pieces
from .file_pieces import NO_ROOM, FileWriter, read_file
from .keys import Command, payload_key
from .pieces import PieceReader, PieceWriter, Replaced, redis_full_as_store_full

if TYPE_CHECKING:
    from redis import Redis


log = logging.getLogger(__name__)


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


class PayloadWriter(Protocol):
    """Stores a payload that arrives piece by piece. After an error or without `finish`, call `discard`."""

    def write(self, piece: bytes) -> None:
        """Append a piece. Raises `StoreFull`."""
        ...

    def finish(self) -> None:
        """Make the payload whole."""
        ...

    def discard(self) -> None:
        """Delete what was written."""
        ...


class PayloadStore(Protocol):
    """Bytes by job and kind. `put` replaces: a concurrent reader gets the old bytes or the new."""

    def put(self, job_id: str, kind: Payload, data: bytes) -> None:
        """Store a payload. Raises `StoreFull`."""
        ...

    def get(self, job_id: str, kind: Payload) -> bytes:
        """Read a payload. Raises `PayloadMissing`."""
        ...

    def read(self, job_id: str, kind: Payload) -> PieceReader:
        """Read a payload piece by piece. Raises `PayloadMissing`; the pieces raise `Replaced`."""
        ...

    def writer(self, job_id: str, kind: Payload) -> PayloadWriter:
        """A writer of a payload of a job that does not exist yet."""
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


#: How often a payload that is replaced meanwhile is read.
_MAX_READS = 5
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
            self._memory, self._memory_read_at = self._read_memory(), time.monotonic()
        used, limit = self._memory
        if limit and used + size > _PRODUCERS_SHARE * limit:
            raise StoreFull(
                f"Redis uses {used:,} of {limit:,} bytes, and the last tenth is for the workers; wait until they have "
                f"done more, or give it more (maxmemory)"
            )

    def _read_memory(self) -> tuple[int, int]:
        """The bytes that Redis uses and may use; zeros if this Redis user may not ask, which is logged once."""
        from redis.exceptions import NoPermissionError

        try:
            info = cast("dict[str, int]", self._redis.info("memory"))
        except NoPermissionError:
            if math.isinf(self._memory_read_at):
                log.warning("this Redis user may not run INFO: producers can't leave the last tenth to the workers")
            return 0, 0
        return info["used_memory"], info["maxmemory"]

    def put(self, job_id: str, kind: Payload, data: bytes) -> None:
        """Store a payload. Raises `StoreFull`."""
        if self.is_small(data):
            with redis_full_as_store_full():
                self._redis.execute_command(*self.put_command(job_id, kind, data))  # type: ignore[no-untyped-call]
            return
        key = payload_key(job_id, kind)
        part = f"{key}:{uuid.uuid4().hex}.part"
        writer = self._put_pieces(part, data)
        try:
            self._redis.rename(part, key)
        except BaseException:
            writer.discard()
            raise

    def is_small(self, data: bytes) -> bool:
        """Whether the payload is kept in one piece."""
        return len(data) <= pieces.PIECE

    def put_command(self, job_id: str, kind: Payload, data: bytes) -> Command:
        """The command that stores a small payload."""
        return self._set(payload_key(job_id, kind), data)

    def stage(self, job_id: str, payloads: Mapping[Payload, bytes], owner: str) -> list[Command]:
        """Stage payloads for a claim's owner: the ledger's `finish` makes them the job's own.

        Large ones are stored at once, each under its staging key; returns the commands that store the small ones.
        Raises `StoreFull`.
        """
        commands = []
        for kind, data in payloads.items():
            key = f"{payload_key(job_id, kind)}:{owner}"
            if self.is_small(data):
                commands.append(self._set(key, data))
            else:
                self._redis.unlink(key)  # what an attempt before has left there
                self._put_pieces(key, data)
        return commands

    def _set(self, key: str, data: bytes) -> Command:
        return ("SET", key, data, "EX", self._retention_s)

    def get_command(self, job_id: str, kind: Payload) -> Command:
        """The command that reads a payload: an error if it is in pieces, nil if it is gone."""
        return ("GET", payload_key(job_id, kind))

    def get_all_command(self, job_id: str, kinds: Iterable[Payload]) -> Command:
        """The command that reads several payloads: nil for each that is in pieces or gone."""
        return ("MGET", *(payload_key(job_id, kind) for kind in kinds))

    def _put_pieces(self, key: str, data: bytes) -> PieceWriter:
        """Store a payload under a key that nobody reads yet. Nothing is left after an error."""
        writer = PieceWriter(self._redis, key, self._retention_s)
        try:
            for start in range(0, len(data), pieces.PIECE):
                writer.write(data[start : start + pieces.PIECE])
            writer.finish()
        except BaseException:
            writer.discard()
            raise
        return writer

    def writer(self, job_id: str, kind: Payload) -> PieceWriter:
        """A writer of a payload of a job that does not exist yet."""
        return PieceWriter(self._redis, payload_key(job_id, kind), self._retention_s)

    def get(self, job_id: str, kind: Payload) -> bytes:
        """Read a payload. Raises `PayloadMissing`."""
        for _ in range(_MAX_READS):
            reader = self.read(job_id, kind)
            try:
                return reader.join()
            except Replaced:
                continue
        raise _missing(job_id, kind)

    def read(self, job_id: str, kind: Payload) -> PieceReader:
        """Read a payload piece by piece. Raises `PayloadMissing`; the pieces raise `Replaced`."""
        from redis.exceptions import ResponseError

        key = payload_key(job_id, kind)
        try:
            data = cast("bytes | None", self._redis.get(key))
        except ResponseError:  # the wrong type: it is in pieces
            reader = pieces.read_pieces(self._redis, key)
        else:
            reader = None if data is None else PieceReader.of(data)
        if reader is None:
            raise _missing(job_id, kind)
        return reader

    def drop(self, job_id: str, kind: Payload) -> None:
        """Delete a payload if it is there."""
        self._redis.delete(payload_key(job_id, kind))

    def jobs(self) -> Iterator[tuple[str, float]]:
        """None: payloads expire by themselves."""
        return iter(())


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
            if error.errno not in NO_ROOM:
                raise
            raise StoreFull(f"no room for {len(data):,} bytes in {self._root}: {error.strerror}") from error

    def get(self, job_id: str, kind: Payload) -> bytes:
        """Read a payload. Raises `PayloadMissing`."""
        try:
            return cast(bytes, self._fs.cat_file(self._path(job_id, kind), **self._read_options))
        except FileNotFoundError as error:
            raise _missing(job_id, kind) from error

    def read(self, job_id: str, kind: Payload) -> PieceReader:
        """Read a payload piece by piece; one in an object store is read whole. Raises `PayloadMissing`."""
        try:
            return read_file(self._path(job_id, kind)) if self._is_local else PieceReader.of(self.get(job_id, kind))
        except FileNotFoundError as error:
            raise _missing(job_id, kind) from error

    def writer(self, job_id: str, kind: Payload) -> FileWriter:
        """A writer of a payload of a job that does not exist yet."""
        return FileWriter(self._fs, self._path(job_id, kind), self._is_local)

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
