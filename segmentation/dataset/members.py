"""The pairs of a data set, or of one of its splits."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ..errors import InvalidDataset
from . import names
from .layout import Source, deeper_folders, sources, unused_folders
from .pair import Pair
from .splits import INDEX, KNOWN_SPLITS, canonical, read_index

#: Takes one sentence about the data set that a user has to know.
Tell = Callable[[str], None]


def _say_nothing(_: str) -> None:
    pass


@dataclass
class _Content:
    """What a folder has: the pairs by their split (None: no split), and all other files."""

    pairs: dict[str | None, list[Pair]] = field(default_factory=dict)
    images_without_labels: list[Path] = field(default_factory=list)
    labels_without_image: list[Path] = field(default_factory=list)
    side_files: dict[Path, list[Path]] = field(default_factory=dict)

    @property
    def all_pairs(self) -> list[Pair]:
        return sorted((pair for members in self.pairs.values() for pair in members), key=lambda pair: pair.name)


def pairs(folder: Path, split: str | None = None, index: Path | None = None, tell: Tell = _say_nothing) -> list[Pair]:
    """The pairs of a data set, sorted by name; with `split`, only those of that split.

    Splits come from `index`, else from folder/index.csv, else from folders named train, val or test. `tell` gets what
    is left out: files without a partner, and files that are no images. Raises `InvalidDataset` if a folder or the index
    is missing, if two files fit one image, or if there is no pair.
    """
    content = _read(folder, tell)
    if split is None:
        return content.all_pairs
    return _of_split(_splits(folder, content, index, tell), split, folder)


def train_val_split(
    folder: Path, index: Path | None = None, tell: Tell = _say_nothing
) -> tuple[list[Pair], list[Pair]]:
    """Pairs for training and for validation: the splits `train` and `val`, if the data set has splits.

    Otherwise every fifth image is held out. The second list is empty if the data set has fewer than five images, or has
    no `val`. Raises `InvalidDataset` as `pairs` does, if an image is in both splits, and if there is no `val` but a
    split or a folder of an unknown name, which may have been meant.
    """
    content = _read(folder, tell)
    if index is None and not has_splits(folder):
        members = content.all_pairs
        return [pair for n, pair in enumerate(members) if n % 5 != 4], members[4::5]
    splits = _splits(folder, content, index, tell)
    table = index or folder / INDEX
    learned, held_out = _of_split(splits, "train", folder), splits.get("val", [])
    if not held_out and not table.is_file() and (beside := unused_folders(folder)):
        raise InvalidDataset(
            f"{folder}: no split val, but {_folder_counts(beside)}: call the folder of the images to validate on val, "
            f"and others that are not for training test"
        )
    unknown = sorted(splits.keys() - set(KNOWN_SPLITS))
    if not held_out and unknown:
        raise InvalidDataset(
            f"{folder}: no split val, but {_counts(splits)}: call the images to validate on val, and others that are "
            f"not for training test"
        )
    if unused := {split: splits[split] for split in unknown}:
        tell(f"{folder}: splits that are not used: {_counts(unused)}")
    shared = sorted({pair.name for pair in learned} & {pair.name for pair in held_out})
    if shared:
        raise InvalidDataset(f"{table}: {', '.join(shared[:3])} in train and in val: validation would flatter")
    return learned, held_out


def has_splits(folder: Path) -> bool:
    """Whether a data set has splits of its own: an index, or folders named as splits. Raises `InvalidDataset`."""
    return (folder / INDEX).is_file() or any(source.split for source in sources(folder))


def _read(folder: Path, tell: Tell) -> _Content:
    """Pair all files of a data set, and tell of the others. Raises `InvalidDataset` if nothing pairs."""
    content = _Content()
    for source in sources(folder):
        _add(content, source)
        if deeper := deeper_folders(source):
            tell(f"{source.images}: subfolders that are not used: {_folder_counts(deeper)}")
    if not content.all_pairs:
        raise InvalidDataset(f"{folder}: no image with labels{_examples(content)}")
    _distinguish(content)
    if beside := unused_folders(folder):
        tell(f"{folder}: folders that are not used: {_folder_counts(beside)}; splits are called train, val and test")
    for note in _side_file_notes(content):
        tell(note)
    for files, kind, partner in (
        (content.images_without_labels, "image", "labels"),
        (content.labels_without_image, "label file", "image"),
    ):
        if files:
            fault = (
                f"1 {kind} has no {partner} and is left out"
                if len(files) == 1
                else f"{len(files):,} {kind}s have no {partner} and are left out"
            )
            tell(f"{folder}: {fault}: {names.first_names([path.name for path in files])}")
    return content


def _add(content: _Content, source: Source) -> None:
    """Pair the files of one source."""
    images, other = names.image_files(source.images)
    content.side_files[source.images] = [path for path in other if path.name != INDEX]
    if source.flat:
        labels = [path for path in images if names.is_label_name(path)]
        images = [path for path in images if not names.is_label_name(path)]
    else:
        labels, content.side_files[source.labels] = names.image_files(source.labels)
    found = names.pair_up(images, labels)
    content.pairs.setdefault(source.split, []).extend(found)
    used = {path for pair in found for path in (pair.image, pair.labels)}
    content.images_without_labels += [path for path in images if path not in used]
    content.labels_without_image += [path for path in labels if path not in used]


def _examples(content: _Content) -> str:
    """The names of files that do not pair, as the end of a sentence."""
    passed = "".join(f"; {note}" for note in _side_file_notes(content))
    if not content.images_without_labels and not content.labels_without_image:
        return passed
    images, labels = (
        names.first_names([path.name for path in files]) or "none"
        for files in (content.images_without_labels, content.labels_without_image)
    )
    alike = "" if "none" in (images, labels) else "; name both alike, such as x.png and x.png or x_masks.png"
    return f"; images: {images}; labels: {labels}{alike}{passed}"


def _side_file_notes(content: _Content) -> list[str]:
    return [names.side_file_note(part, files) for part, files in content.side_files.items() if files]


def _folder_counts(folders: Mapping[str, int]) -> str:
    return ", ".join(f"{name}/ ({count:,} image{'s' if count > 1 else ''})" for name, count in folders.items())


def _distinguish(content: _Content) -> None:
    """Put the split before names that two pairs share. Raises `InvalidDataset` if that does not help."""
    counts = Counter(pair.name for pair in content.all_pairs)
    for split, members in content.pairs.items():
        content.pairs[split] = [
            replace(pair, name=f"{split}-{pair.name}") if split and counts[pair.name] > 1 else pair for pair in members
        ]
    for name, count in Counter(pair.name for pair in content.all_pairs).items():
        if count > 1:
            raise InvalidDataset(f"{count} images are called {name!r}; rename all but one of them and their labels")


def _splits(folder: Path, content: _Content, index: Path | None, tell: Tell) -> dict[str, list[Pair]]:
    """The pairs of each split, sorted by name. Raises `InvalidDataset` if the data set has no splits."""
    by_folder = {split: _sorted(members) for split, members in content.pairs.items() if split}
    if index is None and by_folder and not (folder / INDEX).is_file():
        return by_folder
    table = index or folder / INDEX
    ids, found = _ids(content.all_pairs), {}
    unknown = []
    for split, members in read_index(table).items():
        matches = {name: _find(ids, name) for name in members}
        unknown += [name for name, pair in matches.items() if pair is None]
        found[split] = _sorted({pair.name: pair for pair in matches.values() if pair}.values())
    if unknown:
        tell(f"{table}: {len(unknown):,} ids have no image with labels: {names.first_names(unknown)}")
    return found


def _ids(members: Sequence[Pair]) -> Mapping[str, Pair]:
    """What an index may call each pair: its name, else its files' names or stems in any case, if only it has them."""
    claims: dict[str, list[Pair]] = defaultdict(list)
    for pair in members:
        for alias in _aliases(pair):
            claims[alias].append(pair)
    unique = {alias: claimants[0] for alias, claimants in claims.items() if len(claimants) == 1}
    return unique | {pair.name: pair for pair in members}


def _aliases(pair: Pair) -> set[str]:
    files = (pair.image, pair.labels)
    exact = {pair.name, names.key(pair.image), *(f.name for f in files), *(f.stem for f in files)}
    return exact | {names.stem(f) for f in files} | {alias.casefold() for alias in exact}


def _find(ids: Mapping[str, Pair], name: str) -> Pair | None:
    """The pair of an id in an index, which may be a path."""
    file = Path(name).name
    return ids.get(name) or ids.get(file) or ids.get(file.casefold())


def _of_split(splits: Mapping[str, list[Pair]], split: str, folder: Path) -> list[Pair]:
    if members := splits.get(canonical(split)):
        return members
    raise InvalidDataset(f"{folder}: no image with labels in split {split!r}; there are: {_counts(splits)}")


def _counts(splits: Mapping[str, Sequence[Pair]]) -> str:
    return ", ".join(f"{name or '(no name)'} ({len(members):,})" for name, members in splits.items()) or "none"


def _sorted(members: Iterable[Pair]) -> list[Pair]:
    return sorted(members, key=lambda pair: pair.name)
