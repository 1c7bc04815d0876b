"""A zip file in pieces, made as it is read: no entry is in memory as a whole, and the file never is."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Iterator

#: Every entry's time, so that equal contents give equal files.
_TIME = (1980, 1, 1, 0, 0, 0)


class _Buffer:
    """What the zip writer has written since it was last read; not seekable, so sizes follow the entries."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def write(self, data: bytes) -> int:
        self._parts.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        """Nothing to do: `read` takes all."""

    def read(self) -> bytes:
        data = b"".join(self._parts)
        self._parts.clear()
        return data


def zip_chunks(entries: Iterable[tuple[str, bytes | Iterable[bytes]]], *, compress: bool = True) -> Iterator[bytes]:
    """The zip file of (path, contents) with contents whole or in pieces.

    Memory grows by the directory only, about 500 bytes an entry. Contents in pieces may exceed 4 GiB; whole ones have
    no ZIP64 fields, which older Java programs such as ImageJ can't read.
    """
    buffer = _Buffer()
    method = zipfile.ZIP_DEFLATED if compress else zipfile.ZIP_STORED
    with zipfile.ZipFile(buffer, "w", method) as archive:  # type: ignore[call-overload]
        for path, contents in entries:
            entry = zipfile.ZipInfo(path, _TIME)
            entry.compress_type = method
            entry.external_attr = 0o644 << 16
            whole = isinstance(contents, bytes)
            with archive.open(entry, "w", force_zip64=not whole) as file:
                for chunk in [contents] if whole else contents:
                    file.write(chunk)
                    if data := buffer.read():
                        yield data
            if data := buffer.read():
                yield data
    yield buffer.read()
