"""Bytes that a stranger sent → an array of pixels, or a typed error. The only place that decodes images."""

from ..arrays import Pixels
from .checks import ImageLimits
from .decoding import decode

__all__ = ["ImageLimits", "Pixels", "decode"]
