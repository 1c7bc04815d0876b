"""Expands files, folders and globs to image files, and names their results."""

import glob
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from ..errors import InvalidJob

#: Suffixes of image files in folders. A file that is listed explicitly may have any name.
SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp", ".npy"})


def expand(paths: Iterable[str]) -> list[Path]:
    """The image files without duplicates; those of a folder or glob are sorted.

    Raises `InvalidJob` if a path matches no file.
    """
    images: dict[Path, None] = {}
    for pattern in paths:
        files = _files(pattern)
        if not files:
            raise InvalidJob(f"{pattern}: no such file, or no image in it ({', '.join(sorted(SUFFIXES))})")
        images |= dict.fromkeys(files)
    return list(images)


def _files(pattern: str) -> list[Path]:
    path = Path(pattern).expanduser()
    if path.is_dir():
        return sorted(p for p in path.iterdir() if p.suffix.lower() in SUFFIXES and p.is_file())
    if path.exists():
        return [path]
    matches = glob.glob(str(path), recursive=True)  # noqa: PTH207 Path.glob rejects absolute patterns
    return sorted(Path(match) for match in matches if Path(match).is_file())


def result_names(paths: Iterable[Path]) -> dict[Path, str]:
    """A unique name for each image's result files: the stem, else the file name, else that with a number."""
    paths = list(paths)
    stems = Counter(path.stem for path in paths)
    names: dict[Path, str] = {}
    taken: set[str] = set()
    for path in paths:
        name = base = path.stem if stems[path.stem] == 1 else path.name
        number = 1
        while name in taken:
            number += 1
            name = f"{base}-{number}"
        taken.add(name)
        names[path] = name
    return names
