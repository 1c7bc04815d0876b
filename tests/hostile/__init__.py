"""Files that test the guards of image readers: valid files damaged at random places, and files made by hand.

None of them harms an outside library that is given it directly: `python -m tests.hostile.libraries` tries that. What
maskq's guards are for, such as a size of gigapixels or a hundred thousand scans, is tested by a small excess over low
limits.

Each file has a name, from which it is made again: `png/flipped@7` is a valid PNG with flipped bits, from seed 7;
`png/text-of-2-megabytes` is made by hand. `python -m tests.hostile NAME` writes either.
"""

from __future__ import annotations

import os
from random import Random

from maskq.segmentation.images import ImageLimits

from .cases import Case, cases
from .damage import DAMAGES
from .valid import valid

#: The limits with which the files are read.
LIMITS = ImageLimits(max_bytes=2_000_000, max_pixels=300_000)


def seed() -> int:
    """The seed of the random damage: HOSTILE_SEED, by default 1."""
    return int(os.environ.get("HOSTILE_SEED", "1"))


def names(seed: int) -> list[str]:
    """The names of all files: each valid file with each kind of damage, and the files made by hand."""
    damaged = [f"{file}/{damage}@{seed}" for file in valid() for damage in DAMAGES]
    return [*damaged, *cases()]


def make(name: str) -> bytes:
    """The file of that name, always the same."""
    if name in cases():
        return cases()[name].make()
    file, _, damage = name.partition("@")[0].partition("/")
    return DAMAGES[damage](Random(name), valid()[file])


def expected(name: str) -> frozenset[str] | None:
    """The right outcomes of a file made by hand, by error type or `pixels`; None if any outcome is right."""
    return cases()[name].expected if name in cases() else None


__all__ = ["LIMITS", "Case", "cases", "expected", "make", "names", "seed"]
