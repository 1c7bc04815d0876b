"""Zeiss CZI, read by the package czifile: the tiles of a scene's level are put together here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from ...errors import InvalidJob
from .container import Container
from .request import Request
from .series import Box, Index, Series, Size

if TYPE_CHECKING:
    from numpy.typing import NDArray

_METRE = 1e6
#: Numbers of compressions in the file format.
_JPEG, _ZSTD, _ZSTD_PACKED = 1, 5, 6


@dataclass(frozen=True)
class Tile:
    """One sub-block: a rectangle of one plane at one level."""

    entry: Any

    @cached_property
    def dimensions(self) -> dict[str, Any]:
        """Start, size and stored size along each axis."""
        return {one.dimension: one for one in self.entry.dimension_entries}

    def start(self, axis: str) -> int:
        """Its position on the axis."""
        found = self.dimensions.get(axis)
        return int(found.start) if found else 0

    def extent(self, axis: str) -> range:
        """The pixels of the full image that it covers."""
        one = self.dimensions[axis]
        return range(one.start, one.start + one.size)

    @cached_property
    def reduction(self) -> int:
        """How many pixels of the full image one of its pixels stands for, in each direction."""
        one = self.dimensions["X"]
        return max(1, round(int(one.size) / int(one.stored_size)))

    def pixels(self) -> NDArray[Any]:
        """(h, w) or (h, w, samples), as stored, RGB."""
        return decoded(self.entry)


@contextmanager
def open_czi(path: str, request: Request) -> Iterator[Sequence[Series]]:
    """The scenes of the file."""
    import czifile

    with czifile.CziFile(path) as file:
        tiles = [Tile(entry) for entry in file.subblock_directory]
        for axis in "HRIVB":
            if len({tile.start(axis) for tile in tiles}) > 1:
                raise InvalidJob(f"{request.name}: several positions on the axis {axis}, which is not read")
        metadata = ElementTree.fromstring(file.metadata())
        scenes = [
            [tile for tile in tiles if tile.start("S") == scene]
            for scene in sorted({tile.start("S") for tile in tiles})
        ]
        for scene in scenes:
            _check_type(scene, request)
        yield [scene_of(scene, metadata) for scene in scenes]


def _check_type(tiles: Sequence[Tile], request: Request) -> None:
    """Raises `InvalidJob` for a scene whose channels have different types of pixels: values of some would be cut."""
    if len(types := sorted({str(tile.entry.dtype) for tile in tiles})) > 1:
        raise InvalidJob(
            f"{request.name}: its channels have pixels of different types ({', '.join(types)}); export the channel to "
            "segment as OME-TIFF"
        )


def scene_of(tiles: Sequence[Tile], metadata: ElementTree.Element) -> Series:
    """The image that the tiles of one scene make; reduced tiles are its levels.

    The first position on T, Z and C is that of the first tile: a part that was cut out of a larger file may not begin
    at 0.
    """
    import numpy as np

    full = [tile for tile in tiles if tile.reduction == 1]
    rows, columns = (
        range(min(tile.extent(axis).start for tile in full), max(tile.extent(axis).stop for tile in full))
        for axis in "YX"
    )
    first = {axis: min(tile.start(axis) for tile in full) for axis in "TZC"}
    axes = {axis: 1 + max(tile.start(axis) for tile in full) - first[axis] for axis in "TZC"}
    plain = np.dtype(full[0].entry.dtype)
    dtype, samples = plain.base, plain.shape[0] if plain.shape else 1
    reductions = sorted({tile.reduction for tile in tiles})
    shape = (samples,) if samples > 1 else ()

    def read(level: int, index: Index, box: Box) -> NDArray[Any]:
        chosen = [
            tile
            for tile in tiles
            if tile.reduction == reductions[level]
            and all(tile.start(axis) == first[axis] + index.get(axis, 0) for axis in "TZC")
        ]
        return _mosaic(chosen, (rows.start, columns.start), box, np.zeros((*box.size, *shape), dtype))

    return Series(
        name="",
        axes=axes,
        levels=tuple(_reduced((len(rows), len(columns)), reduction) for reduction in reductions),
        dtype=dtype,
        read=read,
        samples=samples,
        channels=_channels(metadata, axes["C"]) if samples == 1 else (),
        pixel_size=_pixel_size(metadata),
    )


def _reduced(size: Size, reduction: int) -> Size:
    height, width = (-(-length // reduction) for length in size)
    return height, width


def _mosaic(tiles: Sequence[Tile], origin: Size, box: Box, canvas: NDArray[Any]) -> NDArray[Any]:
    """Draw the tiles that touch the box (in the level's pixels), each over those of a lower mosaic index."""
    for tile in sorted(tiles, key=lambda tile: tile.start("M")):
        top, left = (
            (tile.extent(axis).start - start) // tile.reduction for axis, start in zip("YX", origin, strict=True)
        )
        height, width = (tile.dimensions[axis].stored_size for axis in "YX")
        bottom, right = min(top + height, box.bottom), min(left + width, box.right)
        inside = Box(max(top, box.top), max(left, box.left), bottom, right)
        if min(inside.size) > 0:
            canvas[inside.seen_from(box.top, box.left)] = tile.pixels()[inside.seen_from(top, left)]
    return canvas


def decoded(entry: Any) -> NDArray[Any]:
    """The sub-block's pixels, (h, w) or (h, w, samples), RGB. czifile itself does not read Zstandard."""
    import numpy as np

    segment = entry.data_segment()
    if entry.compression in (_ZSTD, _ZSTD_PACKED):
        plain = np.dtype(entry.dtype)
        pixels = np.frombuffer(_zstd(segment.data(raw=True), entry.compression, plain.base.itemsize), plain.base)
        pixels = pixels.reshape(entry.stored_shape)
        if plain.shape:
            pixels = pixels[..., [2, 1, 0, 3][: plain.shape[0]]]
    else:
        pixels = segment.data(resize=False)
        if entry.compression == _JPEG and pixels.shape[-1] == 3:
            pixels = pixels[..., ::-1]  # czifile 2019 swaps the red and blue that the JPEG decoder has in order
    height, width = (next(one.stored_size for one in entry.dimension_entries if one.dimension == axis) for axis in "YX")
    samples = pixels.shape[-1]
    return pixels.reshape((height, width, samples) if samples > 1 else (height, width))


def _zstd(data: bytes, compression: int, itemsize: int) -> bytes:
    """Zstandard; in its second form after a header that tells whether low and high bytes are stored apart."""
    import numpy as np
    from numcodecs.zstd import Zstd

    if compression == _ZSTD:
        return bytes(Zstd().decode(data))
    header = data[0]
    packed = header >= 3 and bool(data[2] & 1)
    plain = bytes(Zstd().decode(data[header:]))
    if not packed:
        return plain
    return np.ascontiguousarray(np.frombuffer(plain, np.uint8).reshape(itemsize, -1).T).tobytes()


def _channels(metadata: ElementTree.Element, count: int) -> tuple[str, ...]:
    found = metadata.findall("./Metadata/Information/Image/Dimensions/Channels/Channel")
    names = tuple(channel.get("Name") or channel.findtext("Fluor") or "" for channel in found)
    return names if len(names) == count and any(names) else ()


def _pixel_size(metadata: ElementTree.Element) -> tuple[float, float] | None:
    """The distances of the scaling, metres."""
    path = "./Metadata/Scaling/Items/Distance[@Id='{}']/Value"
    sizes = [float(metadata.findtext(path.format(axis), "0")) * _METRE for axis in "YX"]
    return (sizes[0], sizes[1]) if min(sizes) > 0 else None


CONTAINER = Container("CZI", (".czi",), open_czi)
