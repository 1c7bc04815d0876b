"""Array types of the segmentation method."""

import numpy as np
from numpy.typing import NDArray

#: (H, W, C) pixels, C ≥ 1: bool, integers or floats as in the file, in native byte order.
Pixels = NDArray[np.generic]
#: Any shape, float32: network inputs, fields, scores.
Floats = NDArray[np.float32]
#: (H, W) int32: 0 is background, 1, 2, … are objects.
Labels = NDArray[np.int32]
