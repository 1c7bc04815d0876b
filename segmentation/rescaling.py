"""At which size the network sees an image, and what follows for parameters that count pixels.

A model's `scale` is by how much it wants images of its own magnification resized, and `diameter` how wide the objects
were in those. A job that gives its own objects' diameter has its image resized by their ratio too, so that the network
meets objects of the size that it learnt; and what the model says in pixels of its own images is taken in pixels that
much larger or smaller.
"""

from __future__ import annotations

from .clustering.cluster import Clustering
from .errors import ImageTooLarge, InvalidDiameter
from .models.spec import ModelSpec

#: A job's objects may be so many times larger or smaller than the model's.
_MOST = 16.0


def factor(spec: ModelSpec, diameter: float | None = None) -> float:
    """By how much an image whose objects are `diameter` pixels wide is resized; without one, by the model's scale.

    Raises `InvalidDiameter` where the model doesn't know its own, or the two differ by more than 16 times.
    """
    return spec.scale / _magnification(spec, diameter)


def clustering(
    spec: ModelSpec,
    seed_threshold: float | None = None,
    min_pixels: int | None = None,
    diameter: float | None = None,
) -> Clustering:
    """The clustering's parameters for such an image; what a job gives goes before what the model says.

    All count pixels of the image: the model's own grow with the square of the diameter, the job's are taken as given.
    Raises `InvalidDiameter`.
    """
    own, area = spec.clustering(), _magnification(spec, diameter) ** 2
    return Clustering(
        own.seed_threshold if seed_threshold is None else seed_threshold,
        round(own.min_pixels * area) if min_pixels is None else min_pixels,
        round(own.min_unclustered * area),
    )


def resized(size: tuple[int, int], by: float, most: int) -> tuple[int, int]:
    """Height and width after resizing. Raises `ImageTooLarge` where that is more than `most` pixels."""
    height, width = (max(1, round(side * by)) for side in size)
    if by > 1 and height * width > most:
        raise ImageTooLarge(
            f"{size[0]}×{size[1]}, resized by {by:.3g} for this model and diameter, is {height * width:,} pixels, "
            f"over the limit of {most:,} pixels"
        )
    return height, width


def _magnification(spec: ModelSpec, diameter: float | None) -> float:
    """How many times wider the image's objects are than those in the model's images."""
    if diameter is None:
        return 1.0
    if not spec.diameter:
        raise InvalidDiameter(f"model {spec.name} does not know how wide its own objects are: leave the diameter out")
    ratio = diameter / spec.diameter
    if not 1 / _MOST <= ratio <= _MOST:
        raise InvalidDiameter(
            f"a diameter of {diameter:g} pixels is {ratio:.3g} times that of model {spec.name}, {spec.diameter:g} "
            f"pixels; give one from {spec.diameter / _MOST:.3g} to {spec.diameter * _MOST:.3g}"
        )
    return ratio
