"""Files, folders and globs → the images they mean."""

from __future__ import annotations

import glob
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from ..errors import InvalidJob

#: What is taken from a folder; a file that is named by itself is taken whatever it is called.
SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp", ".npy"})


def expand(paths: Iterable[str]) -> list[Path]:
    """The image files, each once, folders and globs in sorted order.

    Raises `InvalidJob` where a path leads to nothing.
    """
    found: dict[Path, None] = {}
    for given in paths:
        files = _files(given)
        if not files:
            raise InvalidJob(f"{given}: no such file, or no image in it ({', '.join(sorted(SUFFIXES))})")
        found |= dict.fromkeys(files)
    return list(found)


def _files(given: str) -> list[Path]:
    path = Path(given).expanduser()
    if path.is_dir():
        return sorted(p for p in path.iterdir() if p.suffix.lower() in SUFFIXES and p.is_file())
    if path.exists():
        return [path]
    matches = glob.glob(str(path), recursive=True)  # noqa: PTH207 Path.glob takes no absolute patterns
    return sorted(Path(match) for match in matches if Path(match).is_file())


def names(paths: Iterable[Path]) -> dict[Path, str]:
    """A name for each image's results: its stem, or, where two share one, the whole file name and then a number."""
    paths = list(paths)
    stems = Counter(path.stem for path in paths)
    chosen: dict[Path, str] = {}
    taken: set[str] = set()
    for path in paths:
        name = base = path.stem if stems[path.stem] == 1 else path.name
        number = 1
        while name in taken:
            number += 1
            name = f"{base}-{number}"
        taken.add(name)
        chosen[path] = name
    return chosen
