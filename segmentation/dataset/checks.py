"""Checks of label files before long work starts: are they instances, one number per object?"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from skimage.measure import label as label_pieces

from ..arrays import Labels
from ..errors import InvalidDataset
from .names import first_names
from .pair import Pair

#: A piece counts if it has at least this share of the largest piece's pixels; smaller ones are specks.
_SPECK = 0.05
#: The value of foreground in 8-bit masks. An instance file whose only object has just this number is a rare accident.
_FOREGROUND = 255
#: Numbers that mark pixels to ignore in some data sets: the maxima of 8 and 16 bits.
_VOID = (255, 65_535)
#: A number other than 0 is taken for background if it covers more than this part of a file without 0.
_BACKGROUND = 0.5
#: Up to this many numbers a file may be a mask of classes, such as nucleus, cytoplasm and debris.
_MAX_CLASSES = 5
#: From this many pieces for each number on, numbers are rather classes than objects.
_PIECES_OF_CLASS = 2


@dataclass(frozen=True)
class Facts:
    """What is known of one label file."""

    path: Path
    #: (K,) area of each object, pixels.
    areas: NDArray[np.int64]
    #: The highest number and the one below it, 0 if there is none.
    highest: tuple[int, int]
    #: The number of the only object; None if there are none or several.
    only: int | None
    #: In how many connected pieces the objects are, specks not counted; 0 if there are more objects than classes.
    pieces: int
    #: If no pixel is 0: the most frequent number, and its share of all pixels.
    commonest: tuple[int, float] | None


def examine(pair: Pair, *, image: bool = False) -> Facts:
    """Read a pair's labels, and with `image` its image too, for the checks. Raises the errors of `Pair.read`."""
    labels = pair.read()[1] if image else pair.read_labels()
    values, areas = np.unique(labels[labels > 0], return_counts=True)
    only = int(values[0]) if len(values) == 1 else None
    highest = [0, 0, *map(int, values[-2:])]
    pieces = _pieces(labels) if len(values) <= _MAX_CLASSES else 0
    covered = int(areas.sum()) == labels.size > 0
    commonest = (int(values[areas.argmax()]), float(areas.max() / labels.size)) if covered else None
    return Facts(pair.labels, areas.astype(np.int64), (highest[-1], highest[-2]), only, pieces, commonest)


def _pieces(labels: Labels) -> int:
    """The number of connected pieces of all objects, without specks; pixels of one piece touch at sides or corners."""
    areas = np.bincount(label_pieces(labels, background=0, connectivity=2).ravel())[1:]  # type: ignore[no-untyped-call]
    return int((areas >= _SPECK * areas.max(initial=0)).sum())


def object_areas(facts: Sequence[Facts]) -> NDArray[np.int64]:
    """(K,) area of every object, pixels. Raises `InvalidDataset` if there is none."""
    areas = np.concatenate([np.zeros(0, np.int64), *(fact.areas for fact in facts)])
    if not len(areas):
        raise InvalidDataset("no label image has an object")
    return areas


def refuse_foreground_masks(facts: Sequence[Facts]) -> None:
    """Raises `InvalidDataset` if the label files are masks of foreground, which name no objects.

    They are if all files that have objects have one and the same number, and more than half of these files have it in
    several pieces. A single file is if its only number is 255, in several pieces. So one-object crops pass, whatever
    their numbers are, as most of them have one piece; and so does an image among others whose only object, numbered 1,
    is in several pieces.
    """
    filled = [fact for fact in facts if len(fact.areas)]
    split = [fact for fact in filled if fact.only and fact.pieces > 1]
    if len({fact.only for fact in filled}) == 1 and 2 * len(split) > len(filled):
        raise InvalidDataset(_message(split[0], f"as in {len(split):,} of {len(facts):,} label files"))
    for fact in split:
        if fact.only == _FOREGROUND:
            raise InvalidDataset(_message(fact, "unlike most label files here"))


def refuse_numbered_background(facts: Sequence[Facts]) -> None:
    """Raises `InvalidDataset` if a number other than 0 seems to be background, as ilastik and Matlab store it.

    It does if in more than half of the label files no pixel is 0 and one and the same number covers more than half.
    """
    numbers = Counter(fact.commonest[0] for fact in facts if fact.commonest and fact.commonest[1] > _BACKGROUND)
    for number, count in numbers.most_common(1):
        if 2 * count > len(facts):
            fact, share = next((f, f.commonest[1]) for f in facts if f.commonest and f.commonest[0] == number)
            zero = "" if all(f.commonest for f in facts) else "--background 0 "
            raise InvalidDataset(
                f"{fact.path}: no pixel is 0; number {number} covers {share:.0%} (as in {count:,} of {len(facts):,} "
                f"label files): if it is the background, make it 0: maskq labels {zero}--background {number} "
                f"{fact.path.parent} --out NEW_FOLDER"
            )


def label_warnings(facts: Sequence[Facts]) -> list[str]:
    """What may be wrong with the label files, but is not certain: one sentence each."""
    notes = (_class_note(facts), _void_note(facts), _foreground_note(facts), _covered_note(facts))
    return [note for note in notes if note]


def _foreground_note(facts: Sequence[Facts]) -> str | None:
    """If a few label files among others have one number in several pieces."""
    split = [fact for fact in facts if fact.only and fact.pieces > 1]
    if not split or len(split) == sum(len(fact.areas) > 0 for fact in facts):
        return None
    return (
        f"{len(split):,} of {len(facts):,} label files have only one number, in several separate pieces: "
        f"{first_names([str(fact.path) for fact in split])}: are they foreground and background? "
        f"`maskq labels --pieces` numbers the pieces"
    )


def _covered_note(facts: Sequence[Facts]) -> str | None:
    """If label files have no background."""
    covered = [fact for fact in facts if fact.commonest]
    if not covered:
        return None
    return (
        f"{len(covered):,} of {len(facts):,} label files have no pixel of background, 0: "
        f"{first_names([str(fact.path) for fact in covered])}: is every pixel a part of an object? If a number is the "
        f"background, `maskq labels --background NUMBER` makes it 0"
    )


def _void_note(facts: Sequence[Facts]) -> str | None:
    """If in most files the highest number is the type's maximum, far above the others, as borders in Pascal VOC are."""
    several = [fact for fact in facts if len(fact.areas) > 1]
    far = [fact for fact in several if fact.highest[0] in _VOID and 2 * fact.highest[1] < fact.highest[0]]
    if 2 * len(far) <= len(several):
        return None
    number = far[0].highest[0]
    return (
        f"{len(far):,} of {len(facts):,} label files have an object {number}, far above the others: is it a border, or "
        f"pixels to ignore? `maskq labels --background 0 --background {number}` makes it background"
    )


def _class_note(facts: Sequence[Facts]) -> str | None:
    """If the label files look like masks of classes: few numbers, each in many pieces."""
    filled = [fact for fact in facts if len(fact.areas)]
    numbers, pieces = (sum(counts) for counts in ([len(f.areas) for f in filled], [f.pieces for f in filled]))
    few = all(len(fact.areas) <= _MAX_CLASSES for fact in filled)
    if not few or pieces < _PIECES_OF_CLASS * numbers or all(fact.only for fact in filled):
        return None
    return (
        f"the label files have few numbers, in {pieces / numbers:.1f} separate pieces each: are they classes instead "
        f"of objects? `maskq labels --pieces` numbers the pieces"
    )


def _message(fact: Facts, detail: str) -> str:
    return (
        f"{fact.path}: the only number is {fact.only}, in {fact.pieces} separate pieces ({detail}): foreground and "
        f"background instead of one number per object. Number the pieces, then correct objects that touch: "
        f"maskq labels {fact.path.parent} --pieces --out NEW_FOLDER"
    )
