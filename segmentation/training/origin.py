"""What a training starts from: the files of its data set, and the weights. Another origin means another training."""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Self

from ..dataset import Pair
from ..dataset.names import first_names


class Member(NamedTuple):
    """One image of the data set: its split, the digests of its two files, and the channel that is used."""

    split: str
    image: str
    labels: str
    channel: str


@dataclass(frozen=True)
class Origin:
    """The start of a training."""

    #: By name, each image of the data set.
    members: Mapping[str, Member] = field(default_factory=dict)
    #: The digest of the weights to start from; empty for random ones.
    weights: str = ""

    @classmethod
    def of(cls, train: Iterable[Pair], val: Iterable[Pair], weights: str) -> Self:
        """The origin of a training on these files; reads them all."""
        splits = ("train", train), ("val", val)
        return cls({pair.name: _member(split, pair) for split, pairs in splits for pair in pairs}, weights)

    @classmethod
    def parse(cls, stored: Mapping[str, Mapping[str, Iterable[str]]]) -> Self:
        """The origin that `asdict` and JSON have stored."""
        members = {name: Member(*values) for name, values in stored["members"].items()}
        return cls(members, str(stored["weights"]))

    def changes(self, later: Self) -> str:
        """What is different in a later origin, such as `labels have changed: a, b`; empty if they are equal."""
        before, after = self.members, later.members
        both = sorted(before.keys() & after.keys())
        by_kind: dict[str, list[str]] = {
            "images are gone": sorted(before.keys() - after.keys()),
            "images are new": sorted(after.keys() - before.keys()),
            "images have changed": _different(both, lambda name: before[name].image != after[name].image),
            "labels have changed": _different(both, lambda name: before[name].labels != after[name].labels),
            "images have another split": _different(both, lambda name: before[name].split != after[name].split),
            "images have another channel": _different(both, lambda name: before[name].channel != after[name].channel),
        }
        found = [f"{kind}: {first_names(names)}" for kind, names in by_kind.items() if names]
        return "; ".join(
            [*found, *(["the training starts from other weights"] if self.weights != later.weights else [])]
        )


def _different(names: Iterable[str], is_different: Callable[[str], bool]) -> list[str]:
    return [name for name in names if is_different(name)]


def _member(split: str, pair: Pair) -> Member:
    return Member(split, _digest(pair.image), _digest(pair.labels), str(pair.channel or ""))


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:32]
