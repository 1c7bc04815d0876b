"""Nikon ND2, read by the package nd2: its positions are scenes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ...errors import InvalidJob
from .container import Container
from .request import Request
from .series import Box, Index, Series

if TYPE_CHECKING:
    import nd2
    from numpy.typing import NDArray


@contextmanager
def open_nd2(path: str, request: Request) -> Iterator[Sequence[Series]]:
    """The positions of the file."""
    import nd2

    with nd2.ND2File(path) as file:
        sizes = dict(file.sizes)
        if other := [axis for axis, length in sizes.items() if axis not in "TPZCYXS" and length > 1]:
            raise InvalidJob(f"{request.name}: the axis {other[0]} of length {sizes[other[0]]} is not read")
        yield [_series(file, sizes, position) for position in range(sizes.get("P", 1))]


def _series(file: nd2.ND2File, sizes: dict[str, int], position: int) -> Series:
    import numpy as np

    loops = [axis for axis in sizes if axis not in "CYXS"]

    def read(level: int, index: Index, box: Box) -> NDArray[Any]:
        at, lengths = {**index, "P": position}, [sizes[axis] for axis in loops]
        frame = int(np.ravel_multi_index([at.get(axis, 0) for axis in loops], lengths)) if loops else 0
        pixels = np.asarray(file.read_frame(frame))
        left = [axis for axis in "CYXS" if axis in sizes]
        pixels = pixels.reshape([sizes[axis] for axis in left])
        if "C" in left:
            pixels = pixels[index.get("C", 0)]
        pixels = pixels[box.top : box.bottom, box.left : box.right]
        return pixels[..., ::-1] if sizes.get("S") == 3 else pixels  # colours are stored as blue, green, red

    return Series(
        name="",
        axes={axis: sizes[axis] for axis in "TZC" if axis in sizes},
        levels=((sizes["Y"], sizes["X"]),),
        dtype=np.dtype(file.dtype),
        read=read,
        samples=sizes.get("S", 1),
        channels=_channels(file, sizes),
        pixel_size=_pixel_size(file),
    )


def _channels(file: nd2.ND2File, sizes: dict[str, int]) -> tuple[str, ...]:
    names = tuple(one.channel.name for one in _described(file))
    return names if len(names) == sizes.get("C", 1) and "S" not in sizes else ()


def _pixel_size(file: nd2.ND2File) -> tuple[float, float] | None:
    found = _described(file)
    if not found or not all(found[0].volume.axesCalibrated[:2]):
        return None
    width, height, _ = found[0].volume.axesCalibration
    return (height, width) if height > 0 and width > 0 else None


def _described(file: nd2.ND2File) -> Sequence[Any]:
    """The channels' metadata; empty if the package can't read them, which nd2 0.12 can't without a probe."""
    try:
        return getattr(file.metadata, "channels", None) or ()
    except (KeyError, ValueError, UnboundLocalError):
        return ()


CONTAINER = Container("ND2", (".nd2",), open_nd2)
