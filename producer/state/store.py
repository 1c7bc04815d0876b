"""The payload store, a claim check: images, fields and results wait here, and a message carries only a job's id.

Payloads are in the broker's Redis, or under any fsspec URL (`s3://bucket/maskq`, `file:///var/lib/maskq`).
"""

from __future__ import annotations

import logging
import math
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol, cast

from ..errors import PayloadMissing, StoreFull
from . import pieces, result_file
from .file_pieces import FileWriter, whole_file
from .files import Files
from .keys import Command, payload_key
from .pieces import MAKE_ROOM, PieceReader, PieceWriter, Replaced, redis_full_as_store_full

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
    """Bytes by job and kind. `put` replaces: a concurrent reader gets the old bytes or the new.

    Each method may raise `StoreUnavailable`, if the store is not the broker's Redis.
    """

    def put(self, job_id: str, kind: Payload, data: bytes) -> None:
        """Store a payload. Raises `StoreFull`."""
        ...

    def put_all(self, job_id: str, payloads: Mapping[Payload, bytes]) -> None:
        """Store several payloads. Raises `StoreFull`."""
        ...

    def get(self, job_id: str, kind: Payload) -> bytes:
        """Read a payload. Raises `PayloadMissing`."""
        ...

    def get_all(self, job_id: str, kinds: Sequence[Payload]) -> tuple[bytes, ...]:
        """Read several payloads. Raises `PayloadMissing`."""
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

    def drop(self, job_id: str, *kinds: Payload) -> None:
        """Delete payloads that are there."""
        ...

    def drop_soon(self, job_id: str, *kinds: Payload) -> None:
        """Delete payloads that nobody stores again, perhaps seconds later and together with others."""
        ...

    def drop_jobs(self, job_ids: Iterable[str]) -> None:
        """Delete everything that is there of these jobs."""
        ...

    def flush(self) -> None:
        """Delete what is to be deleted soon."""
        ...

    def jobs(self) -> Iterator[str]:
        """The jobs that have payloads; none if payloads expire by themselves."""
        ...

    def age_s(self, job_id: str) -> float:
        """The age of the job's newest payload, seconds."""
        ...


#: How often a payload that is replaced meanwhile is read.
_MAX_READS = 100
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
                f"Redis uses {used:,} of {limit:,} bytes, and the last tenth is for the workers; {MAKE_ROOM}"
            )
        self._memory = used + size, limit  # for those who ask before it is read again

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

    def put_all(self, job_id: str, payloads: Mapping[Payload, bytes]) -> None:
        """Store several payloads, one after the other. Raises `StoreFull`."""
        for kind, data in payloads.items():
            self.put(job_id, kind, data)

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
        return PieceWriter(self._redis, payload_key(job_id, kind), pieces.ARRIVAL_S)

    def get(self, job_id: str, kind: Payload) -> bytes:
        """Read a payload. Raises `PayloadMissing`."""
        for _ in range(_MAX_READS):
            reader = self.read(job_id, kind)
            try:
                return reader.join()
            except Replaced:
                continue
        raise _missing(job_id, kind)

    def get_all(self, job_id: str, kinds: Sequence[Payload]) -> tuple[bytes, ...]:
        """Read several payloads, one after the other. Raises `PayloadMissing`."""
        return tuple(self.get(job_id, kind) for kind in kinds)

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

    def drop(self, job_id: str, *kinds: Payload) -> None:
        """Delete payloads that are there."""
        if kinds:
            self._redis.unlink(*(payload_key(job_id, kind) for kind in kinds))

    def drop_soon(self, job_id: str, *kinds: Payload) -> None:
        """Delete payloads that are there, at once."""
        self.drop(job_id, *kinds)

    def drop_jobs(self, job_ids: Iterable[str]) -> None:
        """Delete everything that is there of these jobs."""
        for job_id in job_ids:
            self.drop(job_id, *Payload)

    def flush(self) -> None:
        """Nothing: what is dropped is deleted at once."""

    def jobs(self) -> Iterator[str]:
        """None: payloads expire by themselves."""
        return iter(())

    def age_s(self, job_id: str) -> float:
        """Nothing grows old here: payloads expire by themselves."""
        return 0.0


#: The payloads that are one file, a result, which is written and read with one request → where they are in it.
_PARTS = {Payload.OBJECTS: result_file.objects, Payload.LABELS: result_file.labels}


class FsspecStore:
    """Payloads as files under an fsspec URL. They don't expire.

    Workers drop a job's payloads with the job; `maskq gc` finds what a crashed producer has left. Labels and objects
    are one file, so they are put together and dropped together.
    """

    def __init__(self, url: str) -> None:
        self._files = Files(url)

    def put(self, job_id: str, kind: Payload, data: bytes) -> None:
        """Store a payload as a file, which appears whole. Raises `StoreFull` and `StoreUnavailable`."""
        self.put_all(job_id, {kind: data})

    def put_all(self, job_id: str, payloads: Mapping[Payload, bytes]) -> None:
        """Store several payloads; labels and objects only together. Raises the errors of `put`."""
        if _PARTS.keys() & payloads.keys():
            result = result_file.join(payloads[Payload.OBJECTS], payloads[Payload.LABELS])
            self._files.put(_file(job_id, Payload.OBJECTS), result)
        for kind in payloads.keys() - _PARTS.keys():
            self._files.put(_file(job_id, kind), payloads[kind])

    def get(self, job_id: str, kind: Payload) -> bytes:
        """Read a payload. Raises `PayloadMissing` and `StoreUnavailable`."""
        return self.get_all(job_id, (kind,))[0]

    def get_all(self, job_id: str, kinds: Sequence[Payload]) -> tuple[bytes, ...]:
        """Read several payloads. Raises the errors of `get`."""
        files: dict[str, bytes] = {}
        payloads = []
        for kind in kinds:
            path, part = _file(job_id, kind), _PARTS.get(kind, whole_file)
            try:
                file = files.get(path) or self._files.get(path)
            except FileNotFoundError as error:
                raise _missing(job_id, kind) from error
            files[path] = file
            start, end = part(file, len(file))
            payloads.append(file[start:end])
        return tuple(payloads)

    def read(self, job_id: str, kind: Payload) -> PieceReader:
        """Read a payload piece by piece; one in an object store is read whole. Raises the errors of `get`."""
        try:
            return self._files.read(_file(job_id, kind), _PARTS.get(kind, whole_file))
        except FileNotFoundError as error:
            raise _missing(job_id, kind) from error

    def writer(self, job_id: str, kind: Payload) -> FileWriter:
        """A writer of the image of a job that does not exist yet."""
        return self._files.writer(_file(job_id, kind))

    def check_room(self, size: int) -> None:
        """No check: such a store's capacity is unknown, and `put` raises if it is full."""

    def drop(self, job_id: str, *kinds: Payload) -> None:
        """Delete payloads that are there, and the job's folder with its last one. Raises `StoreUnavailable`."""
        self._files.delete(dict.fromkeys(_file(job_id, kind) for kind in kinds))

    def drop_soon(self, job_id: str, *kinds: Payload) -> None:
        """Delete payloads that nobody stores again; in S3, those of many jobs with one request, seconds later."""
        self._files.delete_soon(dict.fromkeys(_file(job_id, kind) for kind in kinds))

    def drop_jobs(self, job_ids: Iterable[str]) -> None:
        """Delete everything of these jobs, in S3 that of many with one request. Raises `StoreUnavailable`."""
        names = dict.fromkeys(_file("", kind) for kind in Payload)
        self._files.delete(f"{job_id}{name}" for job_id in job_ids for name in names)

    def flush(self) -> None:
        """Delete what is to be deleted soon."""
        self._files.flush()

    def jobs(self) -> Iterator[str]:
        """The jobs that have payloads."""
        return self._files.folders()

    def age_s(self, job_id: str) -> float:
        """The age of the job's newest payload, seconds."""
        return self._files.age_s(job_id)


def _file(job_id: str, kind: Payload) -> str:
    return f"{job_id}/{'result' if kind in _PARTS else kind}"


def open_store(url: str, redis: Redis, retention_s: int) -> PayloadStore:
    """The store that `MASKQ_STORE_URL` names; `redis` is the broker's own."""
    return RedisStore(redis, retention_s) if url == "redis" else FsspecStore(url)


def _missing(job_id: str, kind: Payload) -> PayloadMissing:
    return PayloadMissing(f"job {job_id}: the store has no {kind} of it any more (is its retention time over?)")
