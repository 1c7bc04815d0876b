"""How large the objects of a data set are, and how an image is resized so that the network sees them as it should."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..dataset import InvalidDataset, Pair

#: The diameter, pixels, that objects have in front of a network that nothing else is known of.
USUAL = 24.0
#: Objects this many times smaller or larger are left as they are: training covers that.
_TOLERATED = 1.6


def areas(data: list[Pair]) -> NDArray[np.int64]:
    """The area of every object in the data's labels, pixels. Raises `InvalidDataset` where there is none."""
    counted = []
    for pair in data:
        labels = pair.read_labels()
        counted.append(np.unique(labels[labels > 0], return_counts=True)[1])
    found = np.concatenate(counted)
    if not len(found):
        raise InvalidDataset("no label image has an object")
    return found


def median_diameter(found: NDArray[np.int64]) -> float:
    """Of the circle with the median area, pixels."""
    return round(float(2 * np.sqrt(np.median(found) / np.pi)), 1)


def smallest(found: NDArray[np.int64]) -> int:
    """The area that nearly all objects have, 99 of 100: what is far below it is noise, or a slip of the annotator's."""
    return int(np.percentile(found, 1))


def scale_for(diameter: float, wanted: float = USUAL) -> float:
    """By what to resize images in which objects are `diameter` pixels across; 1 where that is near what is wanted."""
    factor = wanted / diameter
    return 1.0 if 1 / _TOLERATED <= factor <= _TOLERATED else round(min(max(factor, 1 / 16), 16), 2)
