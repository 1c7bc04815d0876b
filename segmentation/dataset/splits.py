"""Splits of a data set: their names, and the table that assigns images to them."""

import csv
from collections.abc import Sequence
from pathlib import Path

from ..atomic_write import atomic_write
from ..errors import InvalidDataset
from .pair import Pair

#: A data set's table of its splits.
INDEX = "index.csv"
#: A model's table of the images that it was trained and validated on, in its folder; same columns as `INDEX`.
SPLITS = "split.csv"
KNOWN_SPLITS = ("train", "val", "test")
_SYNONYMS = {
    "training": "train",
    "validation": "val",
    "valid": "val",
    "validate": "val",
    "dev": "val",
    "development": "val",
    "testing": "test",
}


def canonical(split: str) -> str:
    """A split's name in lower case, without spaces around it; `train`, `val` or `test` for a synonym of one."""
    name = split.strip().casefold()
    return _SYNONYMS.get(name, name)


def read_index(index: Path) -> dict[str, list[str]]:
    """The ids of each split, by its canonical name; rows without a split are left out. Raises `InvalidDataset`."""
    if not index.is_file():
        raise InvalidDataset(f"{index}: no such file (a table with the columns id and split)")
    splits: dict[str, list[str]] = {}
    try:
        for name, split in _rows(index):
            if canonical(split):
                splits.setdefault(canonical(split), []).append(name.strip())
    except (UnicodeDecodeError, csv.Error) as error:
        raise InvalidDataset(f"{index}: not a CSV file in UTF-8: {error}") from error
    return splits


def _rows(index: Path) -> list[tuple[str, str]]:
    """The id and the split of each row; the separator is a comma, or a semicolon or tab if the header has no comma."""
    with index.open(newline="", encoding="utf-8-sig") as file:
        head = file.readline()
        file.seek(0)
        separator = next((sign for sign in ",;\t" if sign in head), ",")
        rows = csv.reader(file, delimiter=separator)
        columns = [column.strip().casefold() for column in next(rows, [])]
        for column in ("id", "split"):
            if column not in columns:
                raise InvalidDataset(f"{index}: no column {column!r}; it needs the columns id and split")
        places = columns.index("id"), columns.index("split")
        return [(row[places[0]], row[places[1]]) for row in rows if len(row) > max(places)]


def write_index(path: Path, **splits: Sequence[Pair]) -> None:
    """Write an index file with the pairs of each split, in the format that `pairs` reads."""
    with atomic_write(path) as part, part.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["id", "split"])
        rows.writerows((pair.name, split) for split, members in splits.items() for pair in members)
