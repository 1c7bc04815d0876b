"""The only place that decodes images: untrusted bytes → an array of pixels, or a typed error."""

from ..arrays import Pixels
from .checks import ImageLimits
from .decoding import decode

__all__ = ["ImageLimits", "Pixels", "decode"]
