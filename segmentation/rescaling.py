"""The size at which the network sees an image, and the clustering parameters that depend on it.

A model's `scale` is the factor by which it resizes images of its own magnification; its `diameter` is the objects'
diameter in those images. If a job gives its objects' diameter, the image is also resized by the ratio of the two, so
that the network sees objects of the size that it learnt. The model's parameters in pixels grow with the same ratio.
"""

from .clustering.cluster import Clustering
from .errors import ImageTooLarge, InvalidDiameter
from .models.spec import ModelSpec

#: Limit of the ratio between the diameters of a job's and of the model's objects, either way.
_MAX_RATIO = 16.0


def scale_factor(spec: ModelSpec, diameter: float | None = None) -> float:
    """The factor by which to resize an image whose objects are `diameter` pixels wide; the model's scale if None.

    Raises `InvalidDiameter` if the model does not know its own diameter, or the two differ by more than 16 times.
    """
    return spec.scale / _magnification(spec, diameter)


def clustering_parameters(
    spec: ModelSpec, seed_threshold: float | None = None, min_pixels: int | None = None, diameter: float | None = None
) -> Clustering:
    """The clustering parameters for an image whose objects are `diameter` pixels wide.

    The job's `seed_threshold` and `min_pixels` override the model's. Areas are pixels of the image: the model's grow
    with the square of the diameter, the job's are used as given. Raises `InvalidDiameter`.
    """
    default, area_ratio = spec.clustering(), _magnification(spec, diameter) ** 2
    return Clustering(
        default.seed_threshold if seed_threshold is None else seed_threshold,
        round(default.min_pixels * area_ratio) if min_pixels is None else min_pixels,
        round(default.min_unclustered * area_ratio),
    )


def resized_shape(shape: tuple[int, int], factor: float, max_pixels: int) -> tuple[int, int]:
    """Height and width after resizing. Raises `ImageTooLarge` if enlarging exceeds `max_pixels`."""
    height, width = (max(1, round(side * factor)) for side in shape)
    if factor > 1 and height * width > max_pixels:
        raise ImageTooLarge(
            f"{shape[0]}×{shape[1]}, resized by {factor:.3g} for this model and diameter, is {height * width:,} "
            f"pixels, over the limit of {max_pixels:,} pixels"
        )
    return height, width


def _magnification(spec: ModelSpec, diameter: float | None) -> float:
    """The ratio of the objects' diameter in the image to that in the model's images."""
    if diameter is None:
        return 1.0
    if not spec.diameter:
        raise InvalidDiameter(f"model {spec.name} does not know how wide its own objects are: leave the diameter out")
    ratio = diameter / spec.diameter
    if not 1 / _MAX_RATIO <= ratio <= _MAX_RATIO:
        raise InvalidDiameter(
            f"a diameter of {diameter:g} pixels is {ratio:.3g} times that of model {spec.name}, {spec.diameter:g} "
            f"pixels; give one from {spec.diameter / _MAX_RATIO:.3g} to {spec.diameter * _MAX_RATIO:.3g}"
        )
    return ratio
