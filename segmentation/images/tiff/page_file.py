"""A view of a file as a TIFF of one page with only the tags that pixels depend on; the file is not copied."""

import io
import struct
from collections.abc import Iterable
from typing import IO, Any, cast

from .directory import Entry, Layout

#: Bytes up to which a file is copied, because that is faster than a view of it.
_SMALL = 1 << 18


def page_file(data: bytes, layout: Layout, entries: Iterable[Entry]) -> IO[bytes]:
    """A TIFF of one page with these tags, and with the pixels of `data`."""
    file = PageFile(data, layout, entries)
    return cast(IO[bytes], io.BytesIO(file.whole()) if len(data) <= _SMALL else file)


class PageFile(io.RawIOBase):
    """The bytes of a file between another header and, after its end, another directory."""

    def __init__(self, data: bytes, layout: Layout, entries: Iterable[Entry]) -> None:
        entries = sorted(entries)
        header = bytearray(data[: layout.pointer])
        start = len(data) + len(data) % 2
        header += struct.pack(layout.word, start)
        directory = struct.pack(layout.count, len(entries))
        directory += b"".join(struct.pack(layout.entry, *entry) for entry in entries)
        tail = bytes(start - len(data)) + directory + struct.pack(layout.word, 0)
        self._parts = (
            (0, memoryview(header)),
            (len(header), memoryview(data)[len(header) :]),
            (len(data), memoryview(tail)),
        )
        self._size = len(data) + len(tail)
        self._position = 0

    def whole(self) -> bytes:
        """All bytes."""
        return b"".join(part for _, part in self._parts)

    def readable(self) -> bool:
        """Yes."""
        return True

    def seekable(self) -> bool:
        """Yes."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Moves to an offset."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = max(0, base + offset)
        return self._position

    def tell(self) -> int:
        """The current offset."""
        return self._position

    def readinto(self, buffer: Any) -> int:
        """Fills the buffer, unless the file ends first: the number of bytes."""
        wanted = memoryview(buffer).cast("B")
        filled = 0
        for start, part in self._parts:
            skip = self._position - start
            if filled < len(wanted) and 0 <= skip < len(part):
                piece = part[skip : skip + len(wanted) - filled]
                wanted[filled : filled + len(piece)] = piece
                filled += len(piece)
                self._position += len(piece)
        return filled

    def read(self, size: int = -1) -> bytes:
        """The next bytes; all that are left if `size` is negative."""
        left = max(0, self._size - self._position)
        size = left if size < 0 else min(size, left)
        start, part = self._parts[1]
        skip = self._position - start
        if skip >= 0 and skip + size <= len(part):  # within the file: one copy
            self._position += size
            return bytes(part[skip : skip + size])
        buffer = bytearray(size)
        return bytes(buffer[: self.readinto(buffer)])
