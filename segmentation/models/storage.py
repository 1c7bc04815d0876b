"""Where model folders stand: a folder on this machine, or any fsspec URL (`s3://bucket/models`)."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias, cast

from ..errors import InvalidLocation, InvalidModel

_ABSENT = (FileNotFoundError, NotADirectoryError)
#: Where another try would fare no better; anything else may be the network's fault, or the disk's.
_LASTING = (*_ABSENT, IsADirectoryError, PermissionError)
_LASTING_TOO = (errno.ELOOP, errno.ENAMETOOLONG)


class Remote:
    """A folder or file behind an fsspec URL: of `pathlib.Path` what a model's reader needs of it."""

    def __init__(self, fs: Any, path: str) -> None:
        self._fs, self._path = fs, path.rstrip("/")

    @classmethod
    def at(cls, url: str) -> Remote:
        """What the URL names. Raises `InvalidLocation` where fsspec can't open its protocol."""
        import fsspec

        try:
            return cls(*fsspec.core.url_to_fs(url))
        except ImportError as error:
            raise InvalidLocation(f"{url}: {error}, wherever it is read: on the device workers too") from error
        except ValueError as error:
            raise InvalidLocation(
                f"{url}: {error}; models are in a folder, or under a URL that fsspec reads"
            ) from error

    def __truediv__(self, name: str) -> Remote:
        return Remote(self._fs, f"{self._path}/{name}")

    def __str__(self) -> str:
        return str(self._fs.unstrip_protocol(self._path))

    @property
    def name(self) -> str:
        """The last part of its path."""
        return self._path.rpartition("/")[2]

    def iterdir(self) -> Iterator[Remote]:
        """What is in it, listed anew. Raises `OSError`."""
        self._fs.invalidate_cache(self._path)
        return (Remote(self._fs, path) for path in self._fs.ls(self._path, detail=False))

    def head(self, most: int) -> bytes:
        """Its first `most` bytes. Raises `OSError`."""
        return cast(bytes, self._fs.cat_file(self._path, start=0, end=most))


Location: TypeAlias = Path | Remote


def place(where: str | Path) -> Location:
    """The place that a path or a URL names. Raises `InvalidLocation`."""
    text = str(where)
    return Remote.at(text) if "://" in text or "::" in text else Path(where)


def names(folder: Location) -> set[str]:
    """What is in the folder, by name; nothing where there is no such folder. Raises as `read` does."""
    with _reading(folder):
        try:
            return {found.name for found in folder.iterdir()}
        except _ABSENT:
            return set()


def read(file: Location, most: int) -> bytes:
    """The file's bytes. Raises `InvalidModel` where it can't be read or they are more than `most`.

    Where the network or the disk failed, which is no fault of the model's, it raises what was raised there.
    """
    with _reading(file):
        if isinstance(file, Remote):
            data = file.head(most + 1)
        else:
            with file.open("rb") as stream:
                data = stream.read(most + 1)
    if len(data) > most:
        raise InvalidModel(f"{file}: over the limit of {most:,} bytes")
    return data


@contextmanager
def _reading(place: Location) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if not isinstance(error, _LASTING) and error.errno not in _LASTING_TOO:
            raise
        raise InvalidModel(f"{place}: {error.strerror or error}") from error
