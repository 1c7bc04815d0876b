"""Check a JPEG 2000 codestream before OpenJPEG reads it: its size, and how many parts it is divided into.

OpenJPEG allocates about a kilobyte for each component of each tile, and 100 to 300 bytes for each precinct and code
block, whether the file holds them or not. Source of the layout: ITU-T T.800, annexes A and I.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace

from ..errors import ImageTooLarge, NotAnImage, TruncatedImage

CODESTREAM_MAGIC = b"\xff\x4f\xff\x51"
FILE_MAGIC = b"\0\0\0\x0cjP  \r\n\x87\n"
_SIZ, _COD, _COC, _SOT, _SOD = 0xFF51, 0xFF52, 0xFF53, 0xFF90, 0xFF93
#: Tiles times components.
_MAX_TILE_COMPONENTS = 100_000
#: Encoders write blocks of 32×32 or 64×64; there may be one for as few samples as this, and a fixed number more.
_SAMPLES_PER_BLOCK, _FEW_BLOCKS = 64, 100_000
_MAX_BOXES = 10_000
_MAX_LEVELS = 32


@dataclass(frozen=True)
class Codestream:
    """The header of a JPEG 2000 codestream."""

    height: int
    width: int
    #: Bits of each component, negative if it is signed.
    bits: tuple[int, ...]
    #: Whether each component has as many samples as the image has pixels.
    full_size: bool
    tile_height: int
    tile_width: int
    tiles: int
    #: Whether the decoder turns three components into RGB by the codestream's own transform.
    transforms_colours: bool = False

    @property
    def components(self) -> int:
        """The number of components."""
        return len(self.bits)


def boxes(data: bytes, begin: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """The kind, begin and end of each box between two offsets. Raises `ValueError` if a box is cut short."""
    for _ in range(_MAX_BOXES):
        if begin + 8 > end:
            return
        length, kind = struct.unpack_from(">I4s", data, begin)
        body = begin + 8
        if length == 1:
            (length,) = struct.unpack_from(">Q", data, body)
            body += 8
        stop = end if length == 0 else begin + length
        if not body <= stop <= end:
            raise ValueError(f"a box of {length:,} bytes ends after the file")
        yield kind, body, stop
        begin = stop


def read_codestream(data: bytes, name: str) -> Codestream:
    """The header of a whole codestream, which OpenJPEG can decode in memory proportional to its pixels.

    Raises `NotAnImage`, `TruncatedImage` or `ImageTooLarge`; `ValueError`, `struct.error` or `IndexError` on damage.
    """
    if not data.startswith(CODESTREAM_MAGIC):
        raise TruncatedImage(f"{name}: damaged: no JPEG 2000 codestream where there should be one")
    header, styles, offset = None, dict[int | None, bytes](), 2
    while (marker := struct.unpack_from(">H", data, offset)[0]) != _SOT:
        length = struct.unpack_from(">H", data, offset + 2)[0]
        body = data[offset + 4 : offset + 2 + length]
        if marker == _SIZ:
            header = _size(body, name)
        elif marker == _COD:
            styles[None] = body
        elif marker == _COC and header:
            wide = header.components > 256
            styles[int.from_bytes(body[: 1 + wide], "big")] = body[1 + wide :]
        offset += 2 + length
    if header is None or None not in styles:
        raise TruncatedImage(f"{name}: damaged: a JPEG 2000 without a size or coding style")
    _check_parts(header, styles, len(data), name)
    _check_tiles(data, offset, header.tiles, name)
    return replace(header, transforms_colours=bool(styles[None][4]))


def _size(body: bytes, name: str) -> Codestream:
    _, x, y, left, top, tile_w, tile_h, tile_x, tile_y, components = struct.unpack_from(">H8IH", body)
    details = [body[36 + 3 * index : 39 + 3 * index] for index in range(components)]
    height, width = y - top, x - left
    if not (details and len(details[-1]) == 3 and height > 0 < width and tile_w and tile_h):
        raise TruncatedImage(f"{name}: damaged: the size in its JPEG 2000 header is {height}×{width}×{components}")
    tiles = -(-(x - tile_x) // tile_w) * -(-(y - tile_y) // tile_h)
    if not 0 < tiles * components <= _MAX_TILE_COMPONENTS:
        raise ImageTooLarge(f"{name}: a JPEG 2000 of {tiles:,} tiles of {components} components; save larger tiles")
    bits = tuple(((depth & 127) + 1) * (-1 if depth & 128 else 1) for depth, _, _ in details)
    full_size = all(steps[1:] == b"\1\1" for steps in details)
    return Codestream(height, width, bits, full_size, min(tile_h, height), min(tile_w, width), tiles)


def _check_parts(header: Codestream, styles: dict[int | None, bytes], size: int, name: str) -> None:
    """Raises `ImageTooLarge` for more blocks than real pictures have, or more packets than there are bytes."""
    scod, _, layers, _ = struct.unpack_from(">BBHB", styles[None])
    blocks = packets = 0
    for component in range(header.components):
        if component in styles:
            body = styles[component]
            precincts, in_blocks = _parts(body[1:], bool(body[0] & 1), header)
        else:
            precincts, in_blocks = _parts(styles[None][5:], bool(scod & 1), header)
        blocks += header.tiles * (precincts + in_blocks)
        packets += header.tiles * precincts * layers
    samples = header.components * header.tiles * header.tile_height * header.tile_width
    if blocks > samples // _SAMPLES_PER_BLOCK + _FEW_BLOCKS:
        raise ImageTooLarge(f"{name}: a JPEG 2000 of {blocks:,} precincts and blocks; save it with larger ones")
    if packets > 2 * size + _FEW_BLOCKS:  # each takes a byte; tiles at the edges have fewer than counted here
        raise TruncatedImage(f"{name}: cut short: {size:,} bytes for a JPEG 2000 of {packets:,} packets")


def _parts(style: bytes, has_precincts: bool, header: Codestream) -> tuple[int, int]:
    """Precincts with any sample, and about how many code blocks, in one component of a tile."""
    levels, block_width, block_height = style[0], style[1] + 2, style[2] + 2
    if levels > _MAX_LEVELS or block_width + block_height > 12:
        raise ValueError("a JPEG 2000 coding style outside the standard")
    precincts = blocks = 0
    for resolution in range(levels + 1):
        size = style[5 + resolution] if has_precincts else 0xFF
        wide, high = size & 15, size >> 4
        width, height = (_divided(side, levels - resolution) for side in (header.tile_width, header.tile_height))
        precincts += _divided(width, wide) * _divided(height, high)
        halved, bands = (1, 3) if resolution else (0, 1)
        across, down = min(block_width + halved, wide), min(block_height + halved, high)
        blocks += bands * _divided(width, across) * _divided(height, down)
    return precincts, blocks


def _divided(length: int, exponent: int) -> int:
    """The length divided by two to the exponent, rounded up."""
    return -(-length >> exponent)


def _check_tiles(data: bytes, offset: int, tiles: int, name: str) -> None:
    """Raises `TruncatedImage` if a tile is missing, which OpenJPEG would leave empty. `offset` is the first part's."""
    seen = set()
    while data[offset : offset + 2] == b"\xff\x90":
        tile, length = struct.unpack_from(">4xHI", data, offset)
        end = offset + length if length else len(data.rstrip(b"\0"))
        if end > len(data) or end < offset + 14 or (length == 0 and data[end - 2 : end] != b"\xff\xd9"):
            raise TruncatedImage(f"{name}: cut short: {len(data):,} bytes end before the image does")
        _check_tile_header(data, offset + 12, end, name)
        seen.add(tile)
        offset = end
    if seen != set(range(tiles)):
        raise TruncatedImage(f"{name}: cut short: {len(seen):,} of {tiles:,} JPEG 2000 tiles")


def _check_tile_header(data: bytes, offset: int, end: int, name: str) -> None:
    """Raises `NotAnImage` if a tile has a coding style of its own, as this module checks only the image's."""
    while (marker := struct.unpack_from(">H", data, offset)[0]) != _SOD:
        if marker in (_COD, _COC):
            raise NotAnImage(f"{name}: a JPEG 2000 whose tiles are coded in different ways; save it as TIFF or PNG")
        offset += 2 + struct.unpack_from(">H", data, offset + 2)[0]
        if offset >= end:
            raise TruncatedImage(f"{name}: damaged: a JPEG 2000 tile without data")
