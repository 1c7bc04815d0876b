"""Expands files, folders, globs and URLs to images, and names their results."""

import glob
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import TypeAlias
from urllib.parse import urlsplit

from ..errors import InvalidJob
from . import containers
from .containers.ome_zarr import is_zarr_folder

#: Suffixes of image files in folders. A file that is listed explicitly may have any name.
SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".bmp", ".webp", ".npy", ".jp2", ".j2k", ".jpx", ".jxl", ".pgm", ".ppm"}
    | {".tif", ".tiff", ".btf", ".tf8", ".lsm", ".stk"}
    | {suffix for container in containers.CONTAINERS for suffix in container.suffixes}
)

#: The ends of the names of maskq's own pictures, which lie beside the images if `--out` is their folder.
OWN_OUTPUTS = (".labels.png", ".labels.tif", ".labels.ome.tif", ".labels.ome.zarr", ".overlay.png", ".overlay.tif")


class Url(str):
    """An image's URL, with the names that a `Path` has."""

    @property
    def name(self) -> str:
        """The last part of its path."""
        return PurePosixPath(urlsplit(self).path).name or urlsplit(self).netloc

    @property
    def stem(self) -> str:
        """The name without its suffix."""
        return PurePosixPath(self.name).stem


#: What `expand` gives: an image's file or folder, or its URL.
ImagePath: TypeAlias = Path | Url


def expand(paths: Iterable[str], *, recursive: bool = False) -> list[ImagePath]:
    """The images without duplicates; those of a folder or glob are sorted. A Zarr folder is one image, so is a URL.

    With `recursive`, a folder means the images of its subfolders too. Hidden files and maskq's own outputs are no
    images, unless they are named. Raises `InvalidJob` if a path matches no file.
    """
    images: dict[ImagePath, None] = {}
    for pattern in paths:
        files: list[ImagePath] = [Url(pattern)] if "://" in pattern else list(_files(pattern, recursive))
        if not files:
            raise InvalidJob(_nothing_found(pattern))
        images |= dict.fromkeys(files)
    return list(images)


def _nothing_found(pattern: str) -> str:
    """Why a path gives no image."""
    if _path(pattern).is_dir():
        deeper = sum(1 for _ in _images_within(_path(pattern), recursive=True))
        if deeper:
            return f"{pattern}: no image in it, but {deeper:,} in its subfolders: use --recursive"
    return f"{pattern}: no such file, or no image in it ({', '.join(sorted(SUFFIXES))})"


def skipped(paths: Iterable[str], *, recursive: bool = False) -> list[Path]:
    """The files and subfolders of the folders among these paths that `expand` leaves out, sorted.

    Hidden ones do not count.
    """
    folders = [folder for folder in map(_path, paths) if folder.is_dir() and not _is_image(folder)]
    found = (path for folder in dict.fromkeys(folders) for path in _entries(folder, recursive))
    return [path for path in found if not _is_listed(path) and not path.name.startswith(".")]


def _path(pattern: str) -> Path:
    return Path(pattern).expanduser()


def _files(pattern: str, recursive: bool) -> list[Path]:
    path = _path(pattern)
    if path.is_dir() and not _is_image(path):
        return list(_images_within(path, recursive))
    if path.exists():
        return [path]
    matches = glob.glob(str(path), recursive=True)  # noqa: PTH207 Path.glob rejects absolute patterns
    return sorted(p for p in map(Path, matches) if _is_image(p) and not p.name.endswith(OWN_OUTPUTS))


def _images_within(folder: Path, recursive: bool) -> Iterator[Path]:
    return filter(_is_listed, _entries(folder, recursive))


def _entries(folder: Path, recursive: bool) -> Iterator[Path]:
    """What is in a folder, sorted. With `recursive`, what is in its subfolders stands in their places."""
    for path in sorted(folder.iterdir()):
        if recursive and path.is_dir() and not (_is_image(path) or path.name.startswith(".") or path.is_symlink()):
            yield from _entries(path, recursive)
        else:
            yield path


def _is_listed(path: Path) -> bool:
    """Whether an entry of a folder is one of its images."""
    is_named_so = path.suffix.lower() in SUFFIXES and not path.name.startswith((".", "~$"))
    return is_named_so and not path.name.endswith(OWN_OUTPUTS) and _is_image(path)


def _is_image(path: Path) -> bool:
    """Whether the path is a file, or a folder that is one image."""
    return path.is_file() or (path.is_dir() and (path.suffix.lower() == ".zarr" or is_zarr_folder(path)))


def result_names(paths: Iterable[ImagePath]) -> dict[ImagePath, str]:
    """A unique name for each image's result files: the stem, else the file name, else that with a number."""
    paths = list(paths)
    stems = Counter(path.stem for path in paths)
    names: dict[ImagePath, str] = {}
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


def without_part(name: str) -> str:
    """A job's name without the part of a container that it says was read: `slide.svs [level 1]` → `slide.svs`."""
    return name.partition(" [")[0] if name.endswith("]") else name
