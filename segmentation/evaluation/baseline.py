"""The baseline for comparisons: segmentation without learning, with scikit-image."""

import numpy as np
from scipy import ndimage
from skimage.feature import peak_local_max
from skimage.filters import threshold_otsu
from skimage.segmentation import watershed

from ..arrays import Floats, Labels

# Both values, and filling holes, were the best of a few dozen variants on the very images that the benchmarks score:
# any bias of the comparison favours the baseline.
#: Sigma of the Gaussian that removes spurious peaks from the distance transform, pixels.
_SIGMA = 1.0
#: Two peaks nearer than this are one object, pixels.
_MIN_DISTANCE = 7


def otsu_watershed(plane: Floats, min_pixels: int = 36) -> Labels:
    """(H, W) plane with bright objects → (H, W) labels 1 to n, by Otsu's threshold and a watershed.

    A watershed of the smoothed distance to the background separates touching objects. Objects of fewer than
    `min_pixels` pixels are dropped; a flat plane has none. Raises `ValueError` for any other shape.
    """
    if plane.ndim != 2:
        raise ValueError(f"the plane must be (height, width), not {plane.shape}")
    if plane.size == 0 or plane.min() == plane.max():
        return np.zeros(plane.shape, np.int32)
    foreground = ndimage.binary_fill_holes(plane > threshold_otsu(plane))  # type: ignore[no-untyped-call]
    distance = ndimage.gaussian_filter(ndimage.distance_transform_edt(foreground), _SIGMA)
    components, _ = ndimage.label(foreground)
    peaks = peak_local_max(  # type: ignore[no-untyped-call]
        distance, min_distance=_MIN_DISTANCE, labels=components, exclude_border=False
    )
    markers = np.zeros(plane.shape, np.int32)
    markers[tuple(peaks.T)] = np.arange(1, len(peaks) + 1)
    labels: Labels = watershed(-distance, markers, mask=foreground)  # type: ignore[no-untyped-call]
    keep = np.bincount(labels.ravel()) >= min_pixels
    keep[0] = False
    return np.asarray(np.where(keep, np.cumsum(keep), 0).astype(np.int32)[labels])
