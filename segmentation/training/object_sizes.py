"""The object sizes of a data set, and the scale that brings them to the size that the network is trained for."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..dataset import InvalidDataset, Pair

#: Default object diameter in the network's input, pixels.
DEFAULT_DIAMETER = 24.0
#: Images are not resized if their objects are up to this many times smaller or larger: augmentation covers that.
_TOLERANCE = 1.6


def object_areas(data: list[Pair]) -> NDArray[np.int64]:
    """(K,) area of every object, pixels. Raises `InvalidDataset` if there is no object, and as `read_labels` does."""
    counts = []
    for pair in data:
        labels = pair.read_labels()
        counts.append(np.unique(labels[labels > 0], return_counts=True)[1])
    result = np.concatenate(counts)
    if not len(result):
        raise InvalidDataset("no label image has an object")
    return result


def median_diameter(areas: NDArray[np.int64]) -> float:
    """The diameter of a circle of the median area, pixels."""
    return round(float(2 * np.sqrt(np.median(areas) / np.pi)), 1)


def small_area(areas: NDArray[np.int64]) -> int:
    """The first percentile of the areas, pixels: objects far below it are noise or annotation errors."""
    return int(np.percentile(areas, 1))


def scale_for(diameter: float, target: float = DEFAULT_DIAMETER) -> float:
    """The scale, 1/16 to 16, that brings objects of `diameter` pixels to `target`; 1 if they are near enough."""
    factor = target / diameter
    return 1.0 if 1 / _TOLERANCE <= factor <= _TOLERANCE else round(min(max(factor, 1 / 16), 16), 2)
