"""An image that arrives bit by bit, such as in a request's body: a large one is never in memory as a whole."""

from __future__ import annotations

import hashlib
import io
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO, cast

from ..state import pieces
from ..state.store import Payload, PayloadStore, PayloadWriter

#: Bytes at the end of a large file that are kept to find its shape: many TIFFs have their directory there.
_TAIL = 1 << 20


@dataclass(frozen=True)
class StoredImage:
    """An image file that is in the store already, for a job that does not exist yet."""

    job_id: str
    #: Bytes.
    size: int
    #: The SHA-256 of the file, in hexadecimal.
    sha256: str
    #: The file's first and last bytes.
    head: bytes
    tail: bytes

    def ends(self) -> IO[bytes]:
        """The file as far as its beginning and end are known; between them it seems to end."""
        return cast("IO[bytes]", _Ends(self))


class Upload:
    """Takes an image's bytes. What is more than one piece goes to the store, under the id of the job to be."""

    def __init__(
        self, store: PayloadStore, expected: int = 0, check: Callable[[int], None] = lambda size: None
    ) -> None:
        """`expected` is the size in bytes that was announced, if any.

        Before the first piece of a large image is stored, `check` is called with the size that is known by then, and
        raises if there is no room for it.
        """
        self._store, self._expected, self._check = store, expected, check
        self._job_id, self._digest = uuid.uuid4().hex, hashlib.sha256()
        self._writer: PayloadWriter | None = None
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0
        self._head = self._tail = b""
        #: Bytes taken.
        self.size = 0

    def add(self, data: bytes) -> bool:
        """Take bytes, without blocking. True if `flush` is to be called before more are added."""
        self._waiting.append(data)
        self._waiting_bytes += len(data)
        self.size += len(data)
        is_large = self._writer or self._expected > pieces.PIECE
        return self._waiting_bytes >= (pieces.PIECE // 4 if is_large else pieces.PIECE)

    def flush(self) -> None:
        """Store what has been added. Raises `StoreFull`, and what `check` raises."""
        piece = self._take()
        if self._writer is None:
            self._check(max(self._expected, len(piece)))
            self._writer = self._store.writer(self._job_id, Payload.IMAGE)
            self._head = piece
        else:
            self._store.check_room(len(piece))
        self._digest.update(piece)
        self._tail = (self._tail + piece)[-_TAIL:]
        self._writer.write(piece)

    def _take(self) -> bytes:
        piece = b"".join(self._waiting)
        self._waiting.clear()
        self._waiting_bytes = 0
        return piece

    def finish(self) -> bytes | StoredImage:
        """The image, to be enqueued. Raises `StoreFull`, and `BrokerUnavailable` if the store has lost a part of it."""
        if self._writer is None:
            return self._take()
        if self._waiting:
            self.flush()
        self._writer.finish()
        return StoredImage(self._job_id, self.size, self._digest.hexdigest(), self._head, self._tail)

    def discard(self) -> None:
        """Delete what was stored."""
        self._take()
        if self._writer is not None:
            self._writer.discard()


class _Ends(io.BufferedIOBase):
    """A file of which only the beginning and the end can be read."""

    def __init__(self, image: StoredImage) -> None:
        self._image, self._at = image, 0

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._image.size}[whence]
        self._at = max(0, start + offset)
        return self._at

    def read(self, size: int | None = -1) -> bytes:
        image = self._image
        at, data = self._at, image.head
        if at >= len(image.head):
            data, at = image.tail, at - (image.size - len(image.tail))
        end = None if size is None or size < 0 else at + size
        found = data[at:end] if at >= 0 else b""
        self._at += len(found)
        return found
