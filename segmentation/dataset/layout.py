"""Where a data set keeps its images and its labels: two folders, two folders for each split, or one folder."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ..errors import InvalidDataset
from .names import image_files, is_label_name, key
from .splits import KNOWN_SPLITS, canonical

#: Names of the two folders, in any case; the first is preferred to the others.
IMAGE_FOLDERS = ("images", "image", "imgs", "img", "raw")
LABEL_FOLDERS = ("labels", "label", "masks", "mask", "gt", "annotations", "instances", "ground_truth", "groundtruth")


@dataclass(frozen=True)
class Source:
    """A folder of images with its folder of labels; one folder if they are equal."""

    images: Path
    labels: Path
    #: The split that both are of, by the folder's name.
    split: str | None = None

    @property
    def flat(self) -> bool:
        """Whether images and labels are in one folder, told apart by names such as `_masks`."""
        return self.images == self.labels


def sources(folder: Path) -> list[Source]:
    """The folders of a data set. Raises `InvalidDataset` if what is images and what is labels is not certain."""
    if not folder.is_dir():
        raise InvalidDataset(f"{folder}: no such folder")
    if sides := _two_folders(folder):
        return _split_inside(*sides) or [Source(*sides)]
    children = _split_folders(folder)
    if children:
        return [_source_of_split(child, split) for split, child in children.items()]
    if is_flat(folder):
        return [Source(folder, folder)]
    raise InvalidDataset(_needs(folder))


def _needs(folder: Path) -> str:
    found = ", ".join(f"{path.name}/" for path in _folders(folder)[:6]) or "no folder"
    return (
        f"{folder}: needs the folders images/ and labels/ (or masks/), or both in each of train/, val/ and test/, or "
        f"files such as x.png and x_masks.png in one folder; it has {found}{_hint(folder)}"
    )


def _hint(folder: Path) -> str:
    """What to do with labels that only Cellpose reads, as the end of a sentence."""
    found = any(folder.glob("*_seg.npy"))
    return "; save the masks of Cellpose's _seg.npy files as PNG or TIFF from its window" if found else ""


def _two_folders(folder: Path) -> tuple[Path, Path] | None:
    """The folder of images and that of labels, if there are both."""
    images, labels = _named(folder, IMAGE_FOLDERS), _named(folder, LABEL_FOLDERS)
    return (images, labels) if images and labels else None


def _named(folder: Path, names: tuple[str, ...]) -> Path | None:
    """The sub-folder of one of these names. Raises `InvalidDataset` for several, of which none has the first name."""
    found = [path for path in _folders(folder) if path.name.casefold() in names]
    preferred = [path for path in found if path.name == names[0]]
    if len(found) > 1 and not preferred:
        choices = " and ".join(f"{path.name}/" for path in found)
        raise InvalidDataset(f"{folder}: {choices}: which one? Rename it to {names[0]}/")
    return next(iter(preferred or found), None)


def _split_folders(folder: Path) -> dict[str, Path]:
    """The sub-folders that are named as splits. Raises `InvalidDataset` if two mean the same."""
    found: dict[str, Path] = {}
    for path in _folders(folder):
        split = canonical(path.name)
        if split in KNOWN_SPLITS:
            if split in found:
                raise InvalidDataset(f"{folder}: {found[split].name}/ and {path.name}/ are both the split {split!r}")
            found[split] = path
    return found


def unused_folders(folder: Path) -> dict[str, int]:
    """The folders beside those of splits that hold images but are not used, each with its number of images."""
    if sides := _two_folders(folder):
        beside = _folders(sides[0]) if _split_inside(*sides) else []
    else:
        beside = _folders(folder) if _split_folders(folder) else []
    counts = {path.name: _images_in(path) for path in beside if canonical(path.name) not in KNOWN_SPLITS}
    return {name: count for name, count in counts.items() if count}


def deeper_folders(source: Source) -> dict[str, int]:
    """The subfolders of a source's images that hold images too, which are not used, each with its number of images."""
    counts = {path.name: _images_in(path) for path in _folders(source.images)}
    return {name: count for name, count in counts.items() if count}


def _images_in(folder: Path) -> int:
    """The number of images in a folder or, if it has folders of images and labels, in that of images."""
    images = next((path for path in _folders(folder) if path.name.casefold() in IMAGE_FOLDERS), folder)
    files = image_files(images)[0]
    return sum(not is_label_name(path) for path in files) if images == folder else len(files)


def _split_inside(images: Path, labels: Path) -> list[Source]:
    """The sources of images/train and labels/train and so on, if the images are there."""
    inside, labels_inside = _split_folders(images), _split_folders(labels)
    if not inside or not labels_inside or image_files(images)[0]:
        return []
    if lacking := inside.keys() - labels_inside.keys():
        raise InvalidDataset(f"{labels}: no folder for the split {first(lacking)!r} of {images}")
    return [Source(path, labels_inside[split], split) for split, path in inside.items()]


def first(names: Iterable[str]) -> str:
    """The first name in alphabetical order."""
    return min(names)


def _source_of_split(folder: Path, split: str) -> Source:
    if sides := _two_folders(folder):
        return Source(*sides, split)
    if is_flat(folder):
        return Source(folder, folder, split)
    raise InvalidDataset(_needs(folder))


def is_flat(folder: Path) -> bool:
    """Whether some file of the folder has the name of another with a word such as `_masks`."""
    files = image_files(folder)[0]
    images = {key(path) for path in files if not is_label_name(path)}
    return any(key(path) in images for path in files if is_label_name(path))


def _folders(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.iterdir()) if path.is_dir() and not path.name.startswith(".")]
