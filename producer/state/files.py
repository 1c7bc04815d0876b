"""Files under an fsspec URL: on a disk, in S3, in any store that fsspec knows. What goes wrong has a type."""

from __future__ import annotations

import logging
import os
import threading
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any, cast

from ..errors import InvalidJob, StoreUnavailable
from .file_pieces import FileWriter, Parts, read_file, whole_file
from .pieces import PieceReader
from .store_errors import store_errors

log = logging.getLogger(__name__)

#: How many objects one request deletes: S3's limit.
_BATCH = 1000
#: How long deletions wait for others (seconds), and how many are remembered while the store is away.
_DELETE_S, _MAX_WAITING = 10.0, 100_000


class Files:
    """The files under a URL, by their paths below it. Threads and forks may share it."""

    def __init__(self, url: str) -> None:
        """Asks the store for nothing. Raises `InvalidJob` for a URL that fsspec can't open."""
        self._url, self._lock = url, threading.Lock()
        self._open()

    def _open(self) -> None:
        import fsspec

        self._is_s3 = self._url.startswith(("s3://", "s3a://"))
        try:
            if self._is_s3:
                from .s3 import BoundedS3

                self._opened = BoundedS3.connected()
                self.root = self._opened._strip_protocol(self._url)
            else:
                self._opened, self.root = fsspec.core.url_to_fs(self._url, use_listings_cache=False)
        except ImportError as error:
            package = "maskq[s3]" if self._is_s3 else "the package that fsspec names"
            raise InvalidJob(f"MASKQ_STORE_URL={self._url}: {error}; pip install {package}") from error
        except ValueError as error:
            raise InvalidJob(f"MASKQ_STORE_URL={self._url}: {error}") from error
        protocol = self._opened.protocol
        self.is_local = "file" in ({protocol} if isinstance(protocol, str) else set(protocol))
        # s3fs asks for an object's size before it reads the object, unless told not to read pieces side by side.
        self._read_options = {"max_concurrency": 1} if self._is_s3 else {}
        self._waiting: dict[str, None] = {}
        self._timer: threading.Timer | None = None
        self._pid = os.getpid()

    @property
    def _fs(self) -> Any:
        """The file system. A fork opens its own: those of object stores work in one process only."""
        if self._pid != os.getpid():
            self._lock = threading.Lock()
            self._open()
        return self._opened

    def _path(self, path: str) -> str:
        return f"{self.root}/{path}"

    def put(self, path: str, data: bytes) -> None:
        """Write a file, which appears whole. Raises `StoreFull` and `StoreUnavailable`."""
        fs = self._fs
        with store_errors(self._url):
            if self.is_local:
                _put_atomically(Path(self._path(path)), data)
            else:  # in an object store, a file appears whole
                fs.pipe_file(self._path(path), data)

    def get(self, path: str) -> bytes:
        """The file. Raises `FileNotFoundError` and `StoreUnavailable`."""
        with store_errors(self._url):
            return cast(bytes, self._fs.cat_file(self._path(path), **self._read_options))

    def read(self, path: str, parts: Parts = whole_file) -> PieceReader:
        """The part of a file that `parts` names, piece by piece; in an object store, the file is read whole.

        Raises the errors of `get`.
        """
        if not self.is_local:
            data = self.get(path)
            start, end = parts(data, len(data))
            return PieceReader.of(data if end - start == len(data) else data[start:end])
        with store_errors(self._url):
            return read_file(self._path(path), parts)

    def writer(self, path: str) -> FileWriter:
        """A writer of a file."""
        return FileWriter(self._fs, self._path(path), self.is_local)

    def delete(self, paths: Iterable[str]) -> None:
        """Delete files, a thousand with one request in S3. Those that are not there are left out.

        Raises `StoreUnavailable`.
        """
        remaining = iter(paths)
        while batch := [self._path(path) for path in islice(remaining, _BATCH)]:
            with store_errors(self._url):
                if self._is_s3:
                    self._delete_objects(batch)
                else:
                    self._delete_files(batch)

    def _delete_objects(self, paths: list[str]) -> None:
        """`fs.rm` would pass over what S3 has refused to delete."""
        bucket = self._fs.split_path(paths[0])[0]
        keys = [{"Key": self._fs.split_path(path)[1]} for path in paths]
        answer = self._fs.call_s3("delete_objects", Bucket=bucket, Delete={"Objects": keys, "Quiet": True})
        if refused := answer.get("Errors"):
            reason = f"{refused[0].get('Code')}: {refused[0].get('Message')}"
            raise StoreUnavailable(f"{self._url}: {len(refused)} of {len(paths)} objects are not deleted: {reason}")

    def _delete_files(self, paths: list[str]) -> None:
        for path in paths:
            with suppress(FileNotFoundError):
                self._fs.rm_file(path)
            if self.is_local:
                with suppress(OSError):  # it has other files, or is gone
                    Path(path).parent.rmdir()

    def delete_soon(self, paths: Iterable[str]) -> None:
        """Delete files that nobody writes again, in S3 together with those of the next seconds.

        If the process is killed meanwhile, they stay.
        """
        if not self._is_s3:
            self._try_to_delete(paths)
            return
        self._fs  # noqa: B018  a fork begins with an empty list of its own
        with self._lock:
            self._waiting |= dict.fromkeys(paths)
            full = len(self._waiting) >= _BATCH
            if not full and self._timer is None:
                self._timer = threading.Timer(_DELETE_S, self.flush)
                self._timer.daemon = True
                self._timer.start()
        if full:
            self.flush()

    def flush(self) -> None:
        """Delete what waits to be deleted. If the store is away, it waits on."""
        if self._pid != os.getpid():
            return
        with self._lock:
            waiting, self._waiting = self._waiting, {}
            timer, self._timer = self._timer, None
        if timer:
            timer.cancel()
        if waiting and not self._try_to_delete(waiting):
            with self._lock:
                kept = islice(waiting, max(0, _MAX_WAITING - len(self._waiting)))
                self._waiting |= dict.fromkeys(kept)

    def _try_to_delete(self, paths: Iterable[str]) -> bool:
        try:
            self.delete(paths)
        except Exception as error:
            log.warning("files of ended jobs could not be deleted: %s", error)
            return False
        return True

    def folders(self) -> Iterator[str]:
        """The names of the folders."""
        fs = self._fs
        with store_errors(self._url):
            try:
                listed = fs.ls(self.root, detail=False)
            except FileNotFoundError:  # nothing was written yet
                listed = []
        for folder in listed:
            yield folder.rstrip("/").rpartition("/")[2]

    def age_s(self, folder: str) -> float:
        """The age of a folder's newest file, seconds; 0 if there is none."""
        fs, newest = self._fs, 0.0
        with store_errors(self._url):
            try:
                listed = fs.ls(self._path(folder), detail=True)
            except FileNotFoundError:  # just deleted
                listed = []
            for file in listed:
                modified = file.get("LastModified") or fs.modified(file["name"])
                newest = max(newest, modified.timestamp())
        return time.time() - newest if newest else 0.0


def _put_atomically(path: Path, data: bytes) -> None:
    """Write under another name first. Nothing is left if there was no room."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{uuid.uuid4().hex}.part")
    try:
        part.write_bytes(data)
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
