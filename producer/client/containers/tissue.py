"""Finds where tissue is on a slide: a fixed rule on a small overview, without a model.

Colour images: tissue is where the largest and the smallest of red, green and blue differ by more than a threshold; in
white glass and black padding they don't. Other images: tissue is brighter than a threshold on the logarithm; a field
full of bright objects, without a dark margin, is all tissue. The threshold is Otsu's (1979), kept within fixed bounds
for colour, so that pale tissue belongs to it. Specks that a 3 × 3 square doesn't fit into are dropped. The region is
the bounding box of the rest, with a margin.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...errors import InvalidJob
from .request import Request
from .resize import resized
from .series import Box, Series

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

#: The overview's longer side, pixels, at most.
_OVERVIEW = 1024
#: Bounds of the threshold for colour: the difference of the channels, of 255.
_LEAST_COLOUR, _MOST_COLOUR = 10.0, 25.0
#: Without colour, tissue and background differ by at least this many standard deviations of the background.
_LEAST_CONTRAST = 5.0
#: With less contrast, the whole field is tissue if bright pixels that hold together cover at least this part of it, and
#: are this many times as bright as the rest. In noise they don't hold together; uneven light makes them less bright.
_FULL_FIELD, _FULL_FIELD_RATIO = 0.2, 2.0
#: Tissue covers at least this part of the overview.
_LEAST_AREA = 0.0005
#: The margin around the tissue: this part of the overview's longer side, at least one pixel.
_MARGIN = 0.01


def find(series: Series, request: Request) -> tuple[int, int, int, int]:
    """x, y, width and height of the box around all tissue, pixels of the full image.

    The first plane is looked at; of several channels, the chosen ones. Raises `InvalidJob` if there is no tissue, or no
    level that is small enough to look at.
    """
    import numpy as np

    mask = opened(tissue_mask(_overview(series, request)))
    if mask.sum() < max(1, _LEAST_AREA * mask.size):
        raise InvalidJob(f"{request.name}: no tissue was found; give the option region as x, y, width and height")
    margin = max(1, round(_MARGIN * max(mask.shape)))
    (top, bottom), (left, right) = (
        (max(0, where[0] - margin), min(length, where[-1] + 1 + margin))
        for where, length in ((np.flatnonzero(mask.any(axis=1 - axis)), mask.shape[axis]) for axis in (0, 1))
    )
    (full_h, full_w), (height, width) = series.levels[0], mask.shape
    x, y = int(left * full_w / width), int(top * full_h / height)
    return x, y, min(full_w, -int(-right * full_w // width)) - x, min(full_h, -int(-bottom * full_h // height)) - y


def _overview(series: Series, request: Request) -> NDArray[np.float32]:
    """(h, w), or (h, w, 3) from 0 to 255, of the first plane; the longer side has `_OVERVIEW` pixels at most."""
    import numpy as np

    from .choice import choose_channels

    large = [level for level, size in enumerate(series.levels) if max(size) >= _OVERVIEW]
    level = large[-1] if large else 0
    height, width = series.levels[level]
    if height * width > request.max_pixels:
        raise InvalidJob(
            f"{request.name}: its smallest level, {width} × {height}, is too large to find tissue; give the option "
            "region as x, y, width and height"
        )
    scale = min(1.0, _OVERVIEW / max(height, width))
    size = max(1, round(height * scale)), max(1, round(width * scale))
    planes = [
        resized(series.read(level, {"C": channel}, Box(0, 0, height, width)).astype(np.float32), size)
        for channel in sorted(choose_channels(series, request))
    ]
    image: NDArray[np.float32] = np.nan_to_num(np.max(planes, axis=0), posinf=0, neginf=0)
    if series.samples == 1:
        return image
    return image[..., :3] * (1.0 if series.dtype.itemsize == 1 else 255 / np.iinfo(series.dtype).max)


def tissue_mask(image: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Where tissue is: (h, w) or (h, w, 3) float32 → (h, w) bool; all False if nothing stands out, or all True."""
    import numpy as np

    if image.ndim == 3:
        colour = image.max(axis=2) - image.min(axis=2)
        return np.asarray(colour > np.clip(otsu(colour), _LEAST_COLOUR, _MOST_COLOUR))
    light = np.log1p(np.maximum(image, 0))
    mask = np.asarray(light > otsu(light))
    if not mask.any() or mask.all():
        return np.zeros_like(mask)
    background = light[~mask]
    contrast = light[mask].mean() - background.mean()
    if contrast >= _LEAST_CONTRAST * background.std():
        return mask
    full = contrast >= np.log(_FULL_FIELD_RATIO) and opened(mask).mean() >= _FULL_FIELD
    return np.full_like(mask, full)


def otsu(values: NDArray[Any]) -> float:
    """The threshold that separates the values best into two classes (Otsu 1979), from a histogram of 256 bins."""
    import numpy as np

    counts, edges = np.histogram(values, 256)
    centres = (edges[:-1] + edges[1:]) / 2
    below = np.cumsum(counts)[:-1]
    above = values.size - below
    sums = np.cumsum(counts * centres)
    with np.errstate(divide="ignore", invalid="ignore"):
        between = below * above * (sums[:-1] / below - (sums[-1] - sums[:-1]) / above) ** 2
    return float(edges[1:-1][np.argmax(np.nan_to_num(between))])


def opened(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The mask without what a 3 × 3 square doesn't fit into (morphological opening)."""
    import numpy as np

    eroded = np.logical_and.reduce(_shifts(mask))
    return np.asarray(np.logical_or.reduce(_shifts(eroded)))


def _shifts(mask: NDArray[np.bool_]) -> list[NDArray[np.bool_]]:
    """The mask shifted by each offset of a 3 × 3 square; False beyond its border."""
    import numpy as np

    height, width = mask.shape
    padded = np.pad(mask, 1)
    return [padded[y : y + height, x : x + width] for y in range(3) for x in range(3)]
