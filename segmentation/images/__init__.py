"""Bytes that a stranger sent → an array of pixels, or a typed error. The only place that decodes images."""

from .checks import ImageLimits, Pixels
from .decoding import decode

__all__ = ["ImageLimits", "Pixels", "decode"]
