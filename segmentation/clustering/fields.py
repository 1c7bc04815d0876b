"""What the network says of each pixel, and how it travels: packed, foreground only, in half precision.

Raw fields, (2 + bandwidths + 1, H, W) float32, become for every foreground pixel (Neven et al. 2019, section 3):

    embedding  = tanh(offset) + (x, y) / unit       in grid units of `unit` pixels
    precision  = exp(10 · sigma)                    the paper's 1/(2σ²), one for both axes or one each
    seediness  = sigmoid(seed logit)                foreground is seediness > ½, that is, a logit above 0

Packing keeps the raw values, so that the rounding to float16 is relative to them: which pixels are foreground does
not change; every raw value moves by at most half a unit in its last place of 11 bits (2⁻¹¹ relative; 2⁻²⁵ absolute
near 0). That may change the order of seeds whose logits agree to three digits, and to which side of an object's
margin a pixel falls that lies within a thousandth of it.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..arrays import Floats
from ..errors import InvalidFields

_HEADER = struct.Struct("<4sBxxxfII")  # magic, bandwidths, unit, height, width
_MAGIC = b"MQF1"
#: The largest float16.
HALF_MAX = 65504.0
#: What `InvalidFields` says where the network gave no number.
NOT_A_NUMBER = "the network gave NaN; are its weights damaged?"
#: Pixels that are activated at once: what comes between stays in the processor's cache.
_PORTION = 1 << 16


@dataclass(frozen=True)
class Foreground:
    """The fields of an image's foreground pixels, in row-major order."""

    #: (H, W) of the image.
    shape: tuple[int, int]
    #: (N,) int64: where in the flattened image.
    index: NDArray[np.int64]
    #: (2, N) float32: x and y, grid units.
    embedding: Floats
    #: (bandwidths, N) float32: exp(10 sigma), 1 / grid units².
    precision: Floats
    #: (N,) float32.
    seediness: Floats


def select(embedding: Floats, precision: Floats, seediness: Floats) -> Foreground:
    """The foreground of dense fields: `embedding` (2, H, W), `precision` (bandwidths, H, W), `seediness` (H, W)."""
    height, width = seediness.shape
    index = np.flatnonzero(seediness > 0.5)
    return Foreground(
        (height, width),
        index,
        embedding.reshape(2, -1).take(index, axis=1),
        precision.reshape(len(precision), -1).take(index, axis=1),
        seediness.ravel().take(index),
    )


def activate(
    raw: Floats | NDArray[np.float16], index: NDArray[np.int64], shape: tuple[int, int], unit: float
) -> Foreground:
    """Raw values of the foreground pixels, (2 + bandwidths + 1, N) → their fields."""
    count = len(index)
    embedding, precision = np.empty((2, count), np.float32), np.empty((len(raw) - 3, count), np.float32)
    seediness = np.empty(count, np.float32)
    for start in range(0, count, _PORTION):
        part = slice(start, start + _PORTION)
        values = raw[:, part].astype(np.float32, copy=False)
        y, x = np.divmod(index[part], shape[1])
        grid = np.stack([x, y]).astype(np.float32) / np.float32(unit)
        with np.errstate(over="ignore"):
            np.exp(np.float32(10) * values[2:-1], out=precision[:, part])
            seediness[part] = 1 / (1 + np.exp(-values[-1]))
        np.add(np.tanh(values[:2]), grid, out=embedding[:, part])
    return Foreground(shape, index, embedding, precision, seediness)


@dataclass(frozen=True)
class Compact:
    """The foreground of raw fields (2 + bandwidths + 1, h, w), as it is packed."""

    #: (h, w) bool.
    foreground: NDArray[np.bool_]
    #: (2 + bandwidths + 1, N) float16, in row-major order; finite.
    values: NDArray[np.float16]


def compact(raw: Floats) -> Compact:
    """Raw fields (2 + bandwidths + 1, h, w) → their foreground; what float16 can't hold becomes its limit.

    Raises `InvalidFields` where a value is not a number. `running` does the same on a GPU.
    """
    foreground = raw[-1] > 0
    values = _taken(raw, np.flatnonzero(foreground))
    if np.isnan(raw[-1]).any() or np.isnan(values).any():
        raise InvalidFields(NOT_A_NUMBER)
    return Compact(foreground, np.ascontiguousarray(values.clip(-HALF_MAX, HALF_MAX).astype("<f2")))


def _taken(raw: Floats, index: NDArray[np.int64]) -> Floats:
    """(fields, h, w) → (fields, N), those of the flattened image's pixels `index`."""
    if raw.strides[0] == raw.itemsize:  # a pixel's fields side by side, as networks give them
        return np.moveaxis(raw, 0, -1).reshape(-1, len(raw)).take(index, axis=0).T
    return raw.reshape(len(raw), -1).take(index, axis=1)


class Packer:
    """Packs an image's raw fields as they come, in pieces: a header, the foreground as bits, its values as float16.

    What it gives does not depend on how the image was cut. It holds a byte a pixel and the foreground's values.
    """

    def __init__(self, shape: tuple[int, int], unit: float) -> None:
        self.shape = shape
        self._unit = unit
        self._foreground = np.zeros(shape, np.bool_)
        self._pieces: list[_Piece] = []

    def add(self, part: Compact | Floats, top: int, left: int) -> None:
        """The foreground or the raw fields of the image's part whose first pixel is (`top`, `left`).

        Raises `InvalidFields` as `compact` does.
        """
        found = part if isinstance(part, Compact) else compact(part)
        height, width = found.foreground.shape
        self._foreground[top : top + height, left : left + width] = found.foreground
        self._pieces.append(_Piece(top, left, np.count_nonzero(found.foreground, axis=1), found.values))

    def finish(self) -> bytes:
        """The packed fields, once every part of the image was added."""
        values = self._in_order()
        header = _HEADER.pack(_MAGIC, len(values) - 3, self._unit, *self.shape)
        return b"".join([header, np.packbits(self._foreground).data, values.data])

    def _in_order(self) -> NDArray[np.float16]:
        """The values of all pieces, (2 + bandwidths + 1, N), in the image's row-major order; the pieces are let go."""
        if len(self._pieces) == 1:
            return self._pieces.pop().values
        rows = np.count_nonzero(self._foreground, axis=1)
        following = np.cumsum(rows) - rows  # where in each row the next piece to the right goes on
        values = np.empty((len(self._pieces[0].values), int(rows.sum())), "<f2")
        self._pieces.sort(key=lambda piece: -piece.left)
        while self._pieces:
            piece = self._pieces.pop()
            own = following[piece.top : piece.top + len(piece.counts)]
            shift = own - np.cumsum(piece.counts) + piece.counts
            values[:, np.repeat(shift, piece.counts) + np.arange(piece.values.shape[1])] = piece.values
            own += piece.counts
        return values


@dataclass(frozen=True)
class _Piece:
    """The foreground of a part of an image."""

    top: int
    left: int
    #: (h,): foreground pixels in each row.
    counts: NDArray[np.intp]
    #: (2 + bandwidths + 1, N).
    values: NDArray[np.float16]


def pack(raw: Floats, unit: float) -> bytes:
    """Raw fields (2 + bandwidths + 1, H, W) of a whole image, packed. Raises `InvalidFields` as `compact` does."""
    packer = Packer((raw.shape[1], raw.shape[2]), unit)
    packer.add(raw, 0, 0)
    return packer.finish()


def unpack(data: bytes) -> Foreground:
    """The foreground that `pack` wrote. Raises `InvalidFields` on anything else."""
    if len(data) < _HEADER.size:
        raise InvalidFields(f"{len(data)} bytes are too few for packed fields")
    magic, bandwidths, unit, height, width = _HEADER.unpack_from(data)
    if magic != _MAGIC or bandwidths not in (1, 2) or not unit > 0:
        raise InvalidFields("these bytes are not packed fields")
    bits = -(-height * width // 8)
    if len(data) < _HEADER.size + bits:
        raise InvalidFields(f"{len(data):,} bytes are too few for the fields of {height}×{width} pixels")
    packed = np.frombuffer(data, np.uint8, bits, _HEADER.size)
    index = np.flatnonzero(np.unpackbits(packed, count=height * width))
    expected = _HEADER.size + bits + 2 * (bandwidths + 3) * len(index)
    if len(data) != expected:
        raise InvalidFields(f"{len(data):,} bytes where {expected:,} belong")
    half = np.frombuffer(data, "<f2", offset=_HEADER.size + bits).reshape(bandwidths + 3, len(index))
    return activate(half, index, (height, width), unit)
