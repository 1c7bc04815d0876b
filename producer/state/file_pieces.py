"""Payloads in files, written and read piece by piece."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ..errors import StoreFull
from . import pieces
from .pieces import PieceReader, Replaced

#: How a file system reports that there is no room: on the disk, in the user's quota, in one file.
NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
#: The size of the parts of which an object store's multipart upload consists, bytes.
_PART = 8 << 20


class FileWriter:
    """Writes a file of an fsspec file system, which appears whole."""

    def __init__(self, fs: Any, path: str, is_local: bool) -> None:
        """The file system is asked for nothing before the first piece."""
        self._fs, self._path, self._is_local = fs, path, is_local
        self._written_to = f"{path}.part" if is_local else path
        self._file: Any = None

    def write(self, piece: bytes) -> None:
        """Append a piece. Raises `StoreFull`."""
        with self._no_room_as_store_full():
            if self._file is None:
                self._file = self._open()
            self._file.write(piece)

    def _open(self) -> Any:
        if not self._is_local:
            return self._fs.open(self._path, "wb", block_size=_PART)
        Path(self._path).parent.mkdir(parents=True, exist_ok=True)
        return Path(self._written_to).open("wb")

    def finish(self) -> None:
        """Make the file appear. Raises `StoreFull`."""
        with self._no_room_as_store_full():
            self._file.close()
            if self._is_local:
                Path(self._written_to).replace(self._path)

    def discard(self) -> None:
        """Delete what was written."""
        if self._file is None:
            return
        with suppress(Exception):  # `maskq gc` finds what is left
            if self._is_local:
                self._file.close()
                Path(self._written_to).unlink(missing_ok=True)
                Path(self._path).unlink(missing_ok=True)
                Path(self._path).parent.rmdir()
            else:
                self._fs.rm_file(self._path)
                if not self._file.closed:
                    self._file.discard()
                    self._file.closed = True  # else its finalizer would upload the rest

    @contextmanager
    def _no_room_as_store_full(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno not in NO_ROOM:
                raise
            raise StoreFull(f"no room for {self._path}: {error.strerror}") from error


def read_file(path: str) -> PieceReader:
    """A reader of a local file. Raises `FileNotFoundError`."""
    return PieceReader(Path(path).stat().st_size, _pieces(path))


def _pieces(path: str) -> Iterator[bytes]:
    try:
        with Path(path).open("rb") as file:
            while piece := file.read(pieces.PIECE):
                yield piece
    except FileNotFoundError as error:
        raise Replaced(path) from error
