"""What is right for each file of `files/`: the rows of `expected.csv`."""

import csv
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path

FOLDER = Path(__file__).parent
FILES = FOLDER / "files"
_TABLE = FOLDER / "expected.csv"


@dataclass(frozen=True)
class Expected:
    """A file and what is right for it, by what its writer was given; never by what a reader makes of it."""

    file: str
    #: The heading in docs/images.md.
    format: str
    variety: str
    #: Name and version.
    writer: str
    #: The error if the file is refused, otherwise empty.
    refused: str = ""
    #: What the channels mean: a value of `ChannelKind`.
    kind: str = ""
    #: A name of `pictures.py`: the pixels, or those of a stack's first plane.
    picture: str = ""
    #: `exact`; `scaled`: equal but for a factor, in any type; `lossy N`: N grey values off in the mean at most.
    compare: str = "exact"
    #: The axes of a stack, such as `T=2 Z=3`; `?=3` if the file does not name them.
    axes: str = ""
    #: Channel names, separated by `;`.
    names: str = ""
    #: Height and width of a pixel in micrometres, such as `0.5 0.25`.
    pixel_size: str = ""
    #: Text that the error, or a note in the result, contains.
    says: str = ""


def write_expected(rows: Iterable[Expected]) -> None:
    """Write `expected.csv`, sorted by file name."""
    with _TABLE.open("w", newline="") as stream:
        table = csv.DictWriter(stream, [field.name for field in fields(Expected)], lineterminator="\n")
        table.writeheader()
        table.writerows(asdict(row) for row in sorted(rows, key=lambda row: row.file))


def read_expected() -> list[Expected]:
    """The rows of `expected.csv`."""
    with _TABLE.open(newline="") as stream:
        return [Expected(**row) for row in csv.DictReader(stream)]
