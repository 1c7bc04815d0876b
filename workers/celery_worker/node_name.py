"""A node name that no other worker of this machine uses on the same broker: Flower and the counters go by it."""

import atexit
import fcntl
import hashlib
import os
import tempfile
from contextlib import suppress
from pathlib import Path

#: More workers of one device than any machine runs.
_MAX_WORKERS = 1000
#: The lock files that this process holds, by descriptor: the kernel unlocks them however the process ends.
_held: dict[int, Path] = {}


def unique_node(node: str, broker_url: str | None) -> str:
    """`node`, such as `gpu0`, or `gpu0-2`, `gpu0-3` … if other processes of this user hold the names before it.

    The names are lock files in the folder for temporary files. If it can't be written, the process's id is appended.
    """
    broker = hashlib.sha256((broker_url or "").encode()).hexdigest()[:16]
    try:
        folder = Path(tempfile.gettempdir()) / f"maskq-{os.getuid()}"
        folder.mkdir(mode=0o700, exist_ok=True)
        for number in range(1, _MAX_WORKERS):
            name = node if number == 1 else f"{node}-{number}"
            if _lock(folder / f"{broker}-{name}.lock"):
                return name
    except OSError:  # no folder, or another user's
        pass
    return f"{node}-{os.getpid()}"


def _lock(path: Path) -> bool:
    """Lock the file for the life of this process; False if another process holds it."""
    while True:
        file = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(file)
            return False
        with suppress(FileNotFoundError):  # its last holder may just have removed it
            if path.stat().st_ino == os.fstat(file).st_ino:
                break
        os.close(file)
    if not _held:
        atexit.register(_remove_files)
    _held[file] = path
    return True


def _remove_files() -> None:
    """At the end of the process: remove its lock files, and the folder with the last of all processes."""
    for path in _held.values():
        path.unlink(missing_ok=True)
        with suppress(OSError):  # others are in it
            path.parent.rmdir()
