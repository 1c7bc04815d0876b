"""Read TIFF and BigTIFF: one image, or a stack of planes."""

from .directory import MAGIC
from .reader import read_tiff

__all__ = ["MAGIC", "read_tiff"]
