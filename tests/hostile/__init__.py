"""Files that break image readers: sound ones damaged at random places, and traps made by hand.

Each has a name, from which it is made again: `png/flipped@7` is a sound PNG with bits flipped, of seed 7;
`png/zTXt-bomb` is a trap. `python -m tests.hostile NAME` writes either.
"""

from __future__ import annotations

import os
from random import Random

from maskq.segmentation.images import ImageLimits

from .mutations import MUTATIONS
from .traps import Trap, traps
from .valid import valid

#: What the inputs are made against: traps claim more than this.
LIMITS = ImageLimits(max_bytes=2_000_000, max_pixels=300_000)


def seed() -> int:
    """Where chance starts: HOSTILE_SEED, else always the same."""
    return int(os.environ.get("HOSTILE_SEED", "1"))


def names(seed: int) -> list[str]:
    """Every input: each sound file damaged in each way, and every trap."""
    damaged = [f"{file}/{mutation}@{seed}" for file in valid() for mutation in MUTATIONS]
    return [*damaged, *traps()]


def make(name: str) -> bytes:
    """The input of that name, always the same."""
    if name in traps():
        return traps()[name].make()
    file, _, mutation = name.partition("@")[0].partition("/")
    return MUTATIONS[mutation](Random(name), valid()[file])


def wanted(name: str) -> frozenset[str] | None:
    """The outcomes that are right for a trap, by error type or `pixels`; None where any of them is."""
    return traps()[name].wanted if name in traps() else None


__all__ = ["LIMITS", "Trap", "make", "names", "seed", "wanted"]
