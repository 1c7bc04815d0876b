"""What programs and microscopes write about the pages of a TIFF: axes, channel names and pixel sizes.

A file per program. Each has a function that returns the file's scenes, or None if the file is not by this program or
its metadata does not fit the pages. The metadata are bounded before they are parsed. tifffile's own parsers are not
used: they trust sizes that a file claims, and fill planes that are missing with zeros.
"""

from collections.abc import Callable
from typing import TypeAlias

from ..pages import Pages
from ..scene import Scene
from .imagej import read as read_imagej
from .lsm import read as read_lsm
from .micro_manager import read as read_micro_manager
from .ome import read as read_ome
from .shaped import read as read_shaped
from .slides import read as read_slides
from .stk import read as read_stk

#: The bytes of the file, its pages, and its name in errors → its scenes.
Reader: TypeAlias = Callable[[bytes, Pages, str], list[Scene] | None]
READERS: tuple[Reader, ...] = (
    read_shaped, read_lsm, read_micro_manager, read_ome, read_imagej, read_stk, read_slides,
)  # fmt: skip
