"""Views of files that hold one image without levels: a region of it, and refusals of what they do not have."""

from dataclasses import replace
from typing import TypeAlias

from ..errors import InapplicableOption
from .image import Image, View

#: x, y, width and height, pixels.
Region: TypeAlias = tuple[int, int, int, int]


def check_axes(view: View, name: str) -> None:
    """Raises `InapplicableOption` for axes that are given for a file which is no NumPy array."""
    if view.axes is not None:
        raise InapplicableOption(f"{name}: the option axes is for NumPy arrays; leave it out")


def check_view(view: View, name: str) -> None:
    """Raises `InapplicableOption` for a scene, level or resolution that a file with one plain image does not have."""
    if view.scene not in (None, 1):
        raise InapplicableOption(f"{name}: no scene {view.scene}: the file holds one image")
    if view.level not in (None, 0):
        raise InapplicableOption(f"{name}: no level {view.level}: the file is no pyramid")
    if view.resolution is not None:
        raise InapplicableOption(f"{name}: its pixel size is not known, so leave the option resolution out")


def check_region(region: Region, size: tuple[int, int], name: str) -> None:
    """Raises `InapplicableOption` if the region is not within an image of this height and width."""
    x, y, width, height = region
    rows, columns = size
    if x < 0 or y < 0 or width < 1 or height < 1 or x + width > columns or y + height > rows:
        raise InapplicableOption(
            f"{name}: the region x={x}, y={y}, {width} wide, {height} high is not within {rows}×{columns}"
        )


def crop(image: Image, region: Region | None, name: str) -> Image:
    """The region of an image. Raises `InapplicableOption` if it is not within it."""
    if region is None:
        return image
    check_region(region, (image.pixels.shape[0], image.pixels.shape[1]), name)
    x, y, width, height = region
    return replace(image, pixels=image.pixels[y : y + height, x : x + width])
