"""Storage locations of models: a folder on this machine, or an fsspec URL (`s3://bucket/models`)."""

import errno
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias, cast

from fsspec.core import url_to_fs
from upath import UPath

from ..errors import InvalidLocation, InvalidModel

#: A folder or a file. Of a `UPath` only `/`, `name`, `str()`, `fs` and `path` are used: its `iterdir` costs a further
#: request, and takes a network fault for a missing folder.
Location: TypeAlias = Path | UPath

_ABSENT = (FileNotFoundError, NotADirectoryError)
#: Errors that a retry does not fix; any other may be a fault of the network or the disk.
_PERMANENT = (*_ABSENT, IsADirectoryError, PermissionError)
_PERMANENT_CODES = (errno.ELOOP, errno.ENAMETOOLONG)


def open_location(path_or_url: str | Path) -> Location:
    """The location of a path or a URL. Raises `InvalidLocation` if fsspec can't open the URL's protocol."""
    text = str(path_or_url)
    if "://" not in text and "::" not in text:
        return Path(path_or_url)
    try:
        fs, path = url_to_fs(text)
    except ImportError as error:
        raise InvalidLocation(f"{text}: {error}, wherever it is read: on the device workers too") from error
    except ValueError as error:
        raise InvalidLocation(f"{text}: {error}; models are in a folder, or under a URL that fsspec reads") from error
    protocol = fs.protocol if isinstance(fs.protocol, str) else fs.protocol[0]
    with warnings.catch_warnings(action="ignore", category=UserWarning):  # of protocols that upath has no class for
        location = UPath(path.rstrip("/"), protocol=protocol, **fs.storage_options)
    location.fs  # noqa: B018  cached, and shared by the locations below
    return location


def list_names(folder: Location) -> set[str]:
    """The names of the folder's entries, never from a cache; none if it does not exist. Raises as `read_limited`."""
    with _typed_errors(folder):
        try:
            if isinstance(folder, Path):
                return {entry.name for entry in folder.iterdir()}
            folder.fs.invalidate_cache(folder.path)
            return {path.rstrip("/").rpartition("/")[2] for path in folder.fs.ls(folder.path, detail=False)}
        except _ABSENT:
            return set()


def read_limited(file: Location, limit: int) -> bytes:
    """The contents of a file. Raises `InvalidModel` if it can't be read or has more than `limit` bytes.

    Faults of the network or the disk, which a retry may fix, are raised as they are.
    """
    with _typed_errors(file):
        if isinstance(file, Path):
            with file.open("rb") as stream:
                data = stream.read(limit + 1)
        else:
            data = cast(bytes, file.fs.cat_file(file.path, start=0, end=limit + 1))
    if len(data) > limit:
        raise InvalidModel(f"{file}: over the limit of {limit:,} bytes")
    return data


@contextmanager
def _typed_errors(location: Location) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if not isinstance(error, _PERMANENT) and error.errno not in _PERMANENT_CODES:
            raise
        raise InvalidModel(f"{location}: {error.strerror or error}") from error
