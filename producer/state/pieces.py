"""Large payloads in Redis: hashes of pieces, so that no process holds, sends or waits for a whole one at once.

The fields `0`, `1`, … are the pieces in order. The field `whole`, written last, is the payload's size and a token of
its own: a reader that finds another token has begun to read what was replaced meanwhile.
"""

from __future__ import annotations

import io
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self, cast

from ..errors import BrokerUnavailable, StoreFull

if TYPE_CHECKING:
    from redis import Redis

#: The size of a piece; a longer payload is kept in pieces (bytes). A little less than the 4 MiB that Redis allocates.
PIECE = (4 << 20) - 4096
#: How long an unfinished payload waits for its next piece (seconds).
ARRIVAL_S = 600
_WHOLE = "whole"


#: What to do about a full Redis.
MAKE_ROOM = "wait until workers have done more, or give it more: its maxmemory, or MASKQ_REDIS_MEMORY of `maskq up`"


@contextmanager
def redis_full_as_store_full() -> Iterator[None]:
    """Turn the errors of a Redis without free memory into `StoreFull`."""
    from redis.exceptions import OutOfMemoryError, ResponseError

    try:
        yield
    except ResponseError as error:  # a transaction, and a script in Redis 6, quote it in theirs
        if not isinstance(error, OutOfMemoryError) and "OOM command not allowed" not in str(error):
            raise
        raise StoreFull(f"Redis is full: {error}; {MAKE_ROOM}") from error


class PieceWriter:
    """Writes a payload to a key, which nobody reads before `finish`. What is there always has an expiry."""

    def __init__(self, redis: Redis, key: str, retention_s: int) -> None:
        """The finished payload expires in `retention_s` seconds."""
        self._redis, self._key, self._retention_s = redis, key, retention_s
        self._count = self._size = 0

    def write(self, piece: bytes) -> None:
        """Append a piece. Raises `StoreFull`."""
        self._set(str(self._count), piece, ARRIVAL_S)
        self._count, self._size = self._count + 1, self._size + len(piece)

    def finish(self) -> None:
        """Make the payload whole. Raises `BrokerUnavailable` if Redis has lost a part of it."""
        fields = self._set(_WHOLE, f"{self._size} {uuid.uuid4().hex}", self._retention_s)
        if fields != self._count + 1:
            self.discard()
            raise BrokerUnavailable("Redis has lost a part of what was stored, perhaps by a restart: send it again")

    def discard(self) -> None:
        """Delete what was written; if Redis is gone, the expiry does."""
        with suppress(Exception):
            self._redis.unlink(self._key)

    def _set(self, field: str, value: bytes | str, expire_s: int) -> int:
        """Set a field; returns the number of fields."""
        with redis_full_as_store_full(), self._redis.pipeline(transaction=True) as pipe:
            # redis-py would quote a failed command in its error, which takes longer than to send it.
            pipe.annotate_exception = lambda *_: None  # type: ignore[method-assign]
            pipe.hset(self._key, field, cast(str, value))
            pipe.expire(self._key, expire_s)
            pipe.hlen(self._key)
            return cast(int, pipe.execute()[-1])


class Replaced(Exception):
    """The payload was replaced or deleted while it was read."""


@dataclass(frozen=True)
class PieceReader:
    """A payload that is read piece by piece."""

    #: Bytes in all.
    size: int
    #: The pieces in order, each read when it is asked for. Raises `Replaced`.
    pieces: Iterator[bytes]

    @classmethod
    def of(cls, data: bytes) -> Self:
        """A reader of a payload that is there already: one piece."""
        return cls(len(data), iter((data,)))

    def join(self) -> bytes:
        """The whole payload, without a second copy of it meanwhile. Raises `Replaced`."""
        first = next(self.pieces, b"")
        if len(first) == self.size:
            return first
        stream = io.BytesIO()
        stream.write(first)
        for piece in self.pieces:
            stream.write(piece)
        return stream.getvalue()


def read_pieces(redis: Redis, key: str) -> PieceReader | None:
    """A reader of a payload that is kept in pieces; None if there is none."""
    whole, first = _piece(redis, key, 0)
    if whole is None:
        return None
    size = int(whole.partition(b" ")[0])
    return PieceReader(size, _following(redis, key, size, whole, first))


def _following(redis: Redis, key: str, size: int, whole: bytes, piece: bytes | None) -> Iterator[bytes]:
    read = number = 0
    while read < size:
        if piece is None:
            found, piece = _piece(redis, key, number)
            if found != whole or piece is None:
                raise Replaced(key)
        read, number = read + len(piece), number + 1
        yield piece
        piece = None


def _piece(redis: Redis, key: str, number: int) -> tuple[bytes | None, bytes | None]:
    whole, piece = cast("list[Any]", redis.hmget(key, [_WHOLE, str(number)]))
    return whole, piece
