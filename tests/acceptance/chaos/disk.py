"""A disk that can be filled: a small tmpfs if this user may mount one, else a limit on file sizes."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import TypeAlias

import psutil

from tests.acceptance.processes import marked

_SIZE_MIB = 64

#: Fills the disk for the duration of the block, for the processes whose environment contains the given mark.
Fill: TypeAlias = Callable[[str], AbstractContextManager[None]]


class CannotBeFilled(RuntimeError):
    """This user can neither mount a tmpfs nor limit the files of a running process."""


@contextmanager
def disk(folder: Path) -> Iterator[tuple[str, Fill]]:
    """Create the folder; yields a description of it and the function that fills it. Raises `CannotBeFilled`."""
    folder.mkdir()
    if _mount(folder):
        try:
            yield f"a tmpfs of {_SIZE_MIB} MiB", lambda _: _ballast(folder / "ballast")
        finally:
            subprocess.run(["umount", "--lazy", folder], check=True)
    elif sys.platform == "linux":
        yield "a folder, and a limit on files' sizes", _no_larger_files
    else:
        raise CannotBeFilled(f"this user can neither mount a tmpfs nor limit running processes on {sys.platform}")


def _mount(folder: Path) -> bool:
    if not shutil.which("mount"):
        return False
    command = ["mount", "-t", "tmpfs", "-o", f"size={_SIZE_MIB}m", "tmpfs", str(folder)]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


@contextmanager
def _ballast(file: Path) -> Iterator[None]:
    """Fill the remaining space with a file for the duration of the block."""
    try:
        with file.open("wb", buffering=0) as ballast:
            for size in (1 << 20, 1 << 12):
                with suppress(OSError):
                    while ballast.write(bytes(size)) == size:
                        pass
        yield
    finally:
        file.unlink(missing_ok=True)


@contextmanager
def _no_larger_files(mark: str) -> Iterator[None]:
    """Marked processes and their children get `EFBIG` when they write to a file, as if the disk were full."""
    try:
        _limit(mark, 0)
        yield
    finally:
        _limit(mark, None)


def _limit(mark: str, size: int | None) -> None:
    """Limit the file size of marked processes, bytes; None restores the maximum."""
    for process in marked(mark):
        with suppress(psutil.NoSuchProcess):
            _, hard_limit = process.rlimit(psutil.RLIMIT_FSIZE)
            process.rlimit(psutil.RLIMIT_FSIZE, (hard_limit if size is None else size, hard_limit))
