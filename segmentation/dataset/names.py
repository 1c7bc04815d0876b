"""Names of image and label files: which files are no images, and which label file belongs to which image."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from ..errors import InvalidDataset
from .pair import Pair

_IMAGE_WORDS = ("images", "image", "img", "raw")
_LABEL_WORDS = (
    "cp_masks", "masks", "mask", "labels", "label", "lbl", "segmentation", "seg", "instances", "instance",
    "annotations", "annotation", "ground_truth", "groundtruth", "gt",
)  # fmt: skip
_SEPARATORS = "[-_. ]"


def _affix(words: Iterable[str]) -> re.Pattern[str]:
    """Matches one of the words at the end of a name, or at its start."""
    choices = "|".join(words)
    return re.compile(f"{_SEPARATORS}(?:{choices})$|^(?:{choices}){_SEPARATORS}", re.IGNORECASE)


_AFFIX, _LABEL_AFFIX = _affix((*_IMAGE_WORDS, *_LABEL_WORDS)), _affix(_LABEL_WORDS)
_OME = re.compile(r"\.ome$", re.IGNORECASE)
#: Suffixes of files that are images, even if their content isn't: then they are named as damaged.
_IMAGE_SUFFIXES = frozenset(
    {".png", ".tif", ".tiff", ".jpg", ".jpeg", ".bmp", ".webp", ".npy", ".gif", ".jp2", ".jxl", ".btf", ".stk", ".lsm"}
)
_IMAGE_STARTS = (b"\x89PNG", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+", b"\xff\xd8\xff", b"\x93NUMPY", b"BM", b"RIFF")
#: In the header of a NumPy file of Python objects, such as the one that Cellpose's window saves beside an image.
_PYTHON_OBJECTS = b"'descr': '|O'"
#: Names shown in a message.
_SHOWN = 3


def stem(path: Path) -> str:
    """The file's name without its suffix; `.ome` is a part of the suffix."""
    return _OME.sub("", path.stem)


def key(path: Path) -> str:
    """What an image and its labels have in common: the stem in lower case, without words such as `_img` or `_masks`."""
    name = stem(path).casefold()
    while (shorter := _AFFIX.sub("", name, count=1)) != name and shorter:
        name = shorter
    return name


def is_label_name(path: Path) -> bool:
    """Whether a word such as `_masks` says that the file holds labels."""
    return bool(_LABEL_AFFIX.search(stem(path)))


def image_files(folder: Path) -> tuple[list[Path], list[Path]]:
    """The image files in a folder, sorted, and the other files; hidden files and folders are in neither.

    A suffix decides, or, if it is not known, the first bytes.
    """
    files = [path for path in sorted(folder.iterdir()) if path.is_file() and not path.name.startswith(".")]
    images = [path for path in files if _is_image(path)]
    return images, [path for path in files if path not in set(images)]


def _is_image(path: Path) -> bool:
    suffix = path.suffix.lower()
    if suffix in _IMAGE_SUFFIXES and suffix != ".npy":
        return True
    with path.open("rb") as file:
        head = file.read(128)
    return _PYTHON_OBJECTS not in head and (suffix == ".npy" or head.startswith(_IMAGE_STARTS))


def pair_up(images: Sequence[Path], labels: Sequence[Path]) -> list[Pair]:
    """The images that have labels: by equal stems, and the others by `key`. Unsorted.

    Raises `InvalidDataset` if two files of one folder fit.
    """
    by_stem, labels_by_stem = _by_stem(images), _by_stem(labels)
    exact = {name: Pair(name, by_stem[name], labels_by_stem[name]) for name in by_stem.keys() & labels_by_stem.keys()}
    taken = {key(pair.image): pair for pair in exact.values()}
    other_images = _by_key(path for name, path in by_stem.items() if name not in exact)
    other_labels = _by_key(path for name, path in labels_by_stem.items() if name not in exact)
    found = list(exact.values())
    for shared, candidates in other_labels.items():
        if shared in taken:
            _refuse(taken[shared].image, [taken[shared].labels, *candidates])
        partners = other_images.get(shared, [])
        if len(partners) > 1:
            _refuse(candidates[0], partners)
        if partners and len(candidates) > 1:
            _refuse(partners[0], candidates)
        if partners:
            found.append(Pair(stem(partners[0]), partners[0], candidates[0]))
    return found


def _refuse(path: Path, candidates: Sequence[Path]) -> None:
    names = " and ".join(str(candidate) for candidate in candidates[:_SHOWN])
    raise InvalidDataset(f"{path}: {names} both fit; move all but one out of the folder, or rename them")


def _by_stem(files: Iterable[Path]) -> dict[str, Path]:
    """Files by their stem. Raises `InvalidDataset` if two have one."""
    named: dict[str, Path] = {}
    for path in files:
        if path.stem in named:
            first = named[path.stem].name
            raise InvalidDataset(f"{path.parent}: {first} and {path.name} have one name, {path.stem!r}")
        named[path.stem] = path
    return named


def _by_key(files: Iterable[Path]) -> Mapping[str, list[Path]]:
    grouped: dict[str, list[Path]] = defaultdict(list)
    for path in files:
        grouped[key(path)].append(path)
    return grouped


def first_names(names: Sequence[str]) -> str:
    """The first few names, and how many more there are."""
    more = f" and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def side_file_note(folder: Path, files: Sequence[Path]) -> str:
    """What is said of files that are no images, such as `12 .json`, and what to do with `.npz`."""
    kinds = Counter(path.suffix.lower() or path.name for path in files)
    counted = ", ".join(f"{count:,} {kind}" for kind, count in kinds.most_common())
    passed = "1 file that is no image was" if len(files) == 1 else f"{len(files):,} files that are no images were"
    note = f"{folder}: {passed} passed over ({counted})"
    if archives := [path.name for path in files if path.suffix.lower() == ".npz"]:
        note += f"; {first_names(archives)}: save each array as a .npy, PNG or TIFF file of its own"
    return note
