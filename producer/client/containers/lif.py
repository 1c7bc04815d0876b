"""Leica LIF, read by the package liffile: its images are scenes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ...errors import InvalidJob
from .container import Container
from .request import Request
from .series import Box, Index, Series
from .units import micrometres

if TYPE_CHECKING:
    import liffile
    from numpy.typing import NDArray


@contextmanager
def open_lif(path: str, request: Request) -> Iterator[Sequence[Series]]:
    """The images of the file that have a height and a width."""
    import liffile

    with liffile.LifFile(path) as file:
        images = [image for image in file.images if isinstance(image, liffile.LifImage)]
        yield [_series(image, request) for image in images if {"Y", "X"} <= set(image.sizes)]


def _series(image: liffile.LifImage, request: Request) -> Series:
    import numpy as np

    sizes = dict(image.sizes)

    def read(level: int, index: Index, box: Box) -> NDArray[Any]:
        if other := [axis for axis, length in sizes.items() if axis not in "TZCYXS" and length > 1]:
            raise InvalidJob(
                f"{request.name}: {image.name} has an axis {other[0]} of length {sizes[other[0]]}, which is not read"
                + ("; merge the mosaic and export it" if other[0] == "M" else "")
            )
        at: dict[str, Any] = {axis: index.get(axis, 0) for axis in "TZC" if axis in sizes}
        left = [axis for axis in sizes if axis in "YXS"]
        frame = np.asarray(image.frame(**at))
        pixels = np.transpose(frame, [left.index(axis) for axis in "YXS" if axis in left])
        return pixels[box.top : box.bottom, box.left : box.right]

    return Series(
        name=image.name,
        axes={axis: sizes[axis] for axis in "TZC" if axis in sizes},
        levels=((sizes["Y"], sizes["X"]),),
        dtype=np.dtype(image.dtype),
        read=read,
        samples=sizes.get("S", 1),
        channels=_channels(image, sizes),
        pixel_size=_pixel_size(image),
    )


def _channels(image: liffile.LifImage, sizes: dict[str, int]) -> tuple[str, ...]:
    """The dyes, or else the names of the look-up tables."""
    found = image.xml_element.findall("./Data/Image/ImageDescription/Channels/ChannelDescription")
    names = []
    for channel in found:
        properties = {one.findtext("Key"): one.findtext("Value") for one in channel.iterfind("ChannelProperty")}
        names.append(properties.get("DyeName") or channel.get("LUTName") or "")
    return tuple(names) if len(names) == sizes.get("C", 1) and "S" not in sizes and any(names) else ()


def _pixel_size(image: liffile.LifImage) -> tuple[float, float] | None:
    """A dimension's length is the distance of its first pixel's centre from its last."""
    found: dict[str, float | None] = {}
    for axis, number in (("X", "1"), ("Y", "2")):
        path = f"./Data/Image/ImageDescription/Dimensions/DimensionDescription[@DimID='{number}']"
        dimension = image.xml_element.find(path)
        if dimension is None or (count := int(dimension.get("NumberOfElements", 0))) < 2:
            return None
        found[axis] = micrometres(abs(float(dimension.get("Length", 0))) / (count - 1), dimension.get("Unit"))
    height, width = found["Y"], found["X"]
    return (height, width) if height and width else None


CONTAINER = Container("LIF", (".lif",), open_lif)
