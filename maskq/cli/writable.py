"""Paths of the command line: `~` is expanded, and a command that can't write fails before its work, not after it."""

import os
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir


class NotWritable(ValueError):
    """Nothing can be written to the path that an option names."""


def expanded(path: Path | None) -> Path | None:
    """The path with `~` expanded: shells do that only where a word begins."""
    return path and path.expanduser()


def output_folder(path: Path | None) -> Path | None:
    """The path, if it is a writable folder or one that can be made. Raises `NotWritable`."""
    if path := expanded(path):
        _check_folder(path.absolute(), path)
    return path


def output_file(path: Path | None) -> Path | None:
    """The path, if a file can be written there. Raises `NotWritable`."""
    if path := expanded(path):
        if path.is_dir():
            raise NotWritable(f"{path} is a folder: give a file")
        _check_folder(path.absolute().parent, path.parent)
    return path


def check_temporary_folder() -> None:
    """Raises `NotWritable` if no folder for temporary files can be written, as with a container's read-only root."""
    try:
        gettempdir()
    except FileNotFoundError as error:
        raise NotWritable(
            "no folder for temporary files can be written: set TMPDIR to one that can, such as a volume's"
        ) from error


def _check_folder(folder: Path, shown: Path) -> None:
    """Raises `NotWritable` if no file can be written to the folder, or if it can't be made. Leaves nothing behind."""
    existing = next(parent for parent in (folder, *folder.parents) if os.path.lexists(parent))
    if not existing.is_dir():
        raise NotWritable(f"{shown if existing == folder else existing} is not a folder: give a folder to write to")
    try:
        with TemporaryDirectory(dir=existing, prefix=".maskq-") as trial:  # root may do what permissions deny, or not
            (Path(trial) / folder.relative_to(existing)).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise NotWritable(f"{existing}: nothing can be written there: {error.strerror}") from error
