"""Log files that stay small: one per process, and one for the supervisor's own messages."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import IO

#: A log file above this size becomes `NAME.log.1` when its process starts; an older `NAME.log.1` is deleted.
_MAX_BYTES = 10_000_000


def open_log(path: Path) -> IO[bytes]:
    """The log file, open for appending, in a folder that is created if needed; rotated if it is over 10 MB.

    Both are for this user alone.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if path.exists() and path.stat().st_size > _MAX_BYTES:
        path.replace(path.with_name(f"{path.name}.1"))
    path.touch(mode=0o600)
    return path.open("ab")


@contextmanager
def supervisor_log(path: Path) -> Iterator[None]:
    """While the block runs, append the supervisor's warnings to the file, and not to standard error.

    They still propagate to handlers of the root logger.
    """
    open_log(path).close()
    handler = RotatingFileHandler(path, maxBytes=_MAX_BYTES, backupCount=1)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logger = logging.getLogger(__package__)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        handler.close()
