"""Payloads in files, written and read piece by piece."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from . import pieces
from .pieces import PieceReader, Replaced
from .store_errors import store_errors

#: The length of a file's head, by which `Parts` finds a part (bytes).
_HEAD = 64
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
        with store_errors(self._path):
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
        with store_errors(self._path):
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


#: By a file's first bytes and its size: where the part begins and ends that is wanted.
Parts = Callable[[bytes, int], tuple[int, int]]


def whole_file(head: bytes, size: int) -> tuple[int, int]:
    """The whole file."""
    return 0, size


def read_file(path: str, parts: Parts = whole_file) -> PieceReader:
    """A reader of a part of a local file. Raises `FileNotFoundError`."""
    with Path(path).open("rb") as file:
        status = os.fstat(file.fileno())
        start, end = parts(file.read(_HEAD), status.st_size)
    return PieceReader(end - start, _pieces(path, status.st_ino, start, end - start))


def _pieces(path: str, inode: int, start: int, size: int) -> Iterator[bytes]:
    try:
        with Path(path).open("rb") as file:
            if os.fstat(file.fileno()).st_ino != inode:
                raise Replaced(path)
            file.seek(start)
            while size and (piece := file.read(min(size, pieces.PIECE))):
                size -= len(piece)
                yield piece
    except FileNotFoundError as error:
        raise Replaced(path) from error
