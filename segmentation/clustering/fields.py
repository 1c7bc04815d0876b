"""The network's fields, and their packed format: foreground only, in half precision.

Raw fields, (2 + bandwidths + 1, H, W) float32, become for each foreground pixel (Neven et al. 2019, section 3):

    embedding  = tanh(offset) + (x, y) / unit       in grid units of `unit` pixels
    precision  = exp(10 · sigma)                    the paper's 1/(2σ²), one for both axes or one each
    seediness  = sigmoid(seed logit)                foreground is seediness > ½, that is, a logit above 0

The packed format contains raw values, so that rounding to float16 is relative to them: the foreground does not change,
and each raw value changes by at most half a unit in the last of its 11 bits (2⁻¹¹ relative; 2⁻²⁵ absolute near 0). That
can change the order of seeds whose logits agree to three digits, and the object of a pixel that lies within a
thousandth of an object's margin.
"""

import struct
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..arrays import Floats
from ..errors import InvalidFields

_HEADER = struct.Struct("<4sBxxxfII")  # magic, bandwidths, unit, height, width
_MAGIC = b"MQF1"
FLOAT16_MAX = 65504.0
#: Message of `InvalidFields` if a field is NaN.
NAN_MESSAGE = "the network gave NaN; are its weights damaged?"
#: Pixels that are activated at once: intermediate values stay in the processor's cache.
_CHUNK = 1 << 16


@dataclass(frozen=True)
class Foreground:
    """The fields of an image's foreground pixels, in row-major order."""

    #: (H, W): size of the image.
    shape: tuple[int, int]
    #: (N,) int64: positions in the flattened image.
    index: NDArray[np.int64]
    #: (2, N) float32: x and y, grid units.
    embedding: Floats
    #: (bandwidths, N) float32: exp(10 sigma), 1 / grid units².
    precision: Floats
    #: (N,) float32.
    seediness: Floats


def select(embedding: Floats, precision: Floats, seediness: Floats) -> Foreground:
    """Dense fields (2, H, W), (bandwidths, H, W) and (H, W) → their foreground."""
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
    """Raw values (2 + bandwidths + 1, N) of the foreground pixels `index` → their fields."""
    count = len(index)
    embedding, precision = np.empty((2, count), np.float32), np.empty((len(raw) - 3, count), np.float32)
    seediness = np.empty(count, np.float32)
    for start in range(0, count, _CHUNK):
        part = slice(start, start + _CHUNK)
        values = raw[:, part].astype(np.float32, copy=False)
        y, x = np.divmod(index[part], shape[1])
        grid = np.stack([x, y]).astype(np.float32) / np.float32(unit)
        with np.errstate(over="ignore"):
            np.exp(np.float32(10) * values[2:-1], out=precision[:, part])
            seediness[part] = 1 / (1 + np.exp(-values[-1]))
        np.add(np.tanh(values[:2]), grid, out=embedding[:, part])
    return Foreground(shape, index, embedding, precision, seediness)


@dataclass(frozen=True)
class CompactFields:
    """Raw fields (2 + bandwidths + 1, h, w), reduced to the foreground and to float16."""

    #: (h, w) bool.
    foreground: NDArray[np.bool_]
    #: (2 + bandwidths + 1, N) float16, finite: the foreground pixels in row-major order.
    values: NDArray[np.float16]


def compact(raw: Floats) -> CompactFields:
    """Raw fields (2 + bandwidths + 1, h, w) → their foreground, clipped to float16's range.

    Raises `InvalidFields` if a foreground value or a seed logit is NaN. `network.inference` does the same on a GPU.
    """
    foreground = raw[-1] > 0
    values = _take(raw, np.flatnonzero(foreground))
    if np.isnan(raw[-1]).any() or np.isnan(values).any():
        raise InvalidFields(NAN_MESSAGE)
    return CompactFields(foreground, np.ascontiguousarray(values.clip(-FLOAT16_MAX, FLOAT16_MAX).astype("<f2")))


def _take(raw: Floats, index: NDArray[np.int64]) -> Floats:
    """(fields, h, w) → (fields, N) at the flattened image's pixels `index`."""
    if raw.strides[0] == raw.itemsize:  # channels_last, as networks return them
        return np.moveaxis(raw, 0, -1).reshape(-1, len(raw)).take(index, axis=0).T
    return raw.reshape(len(raw), -1).take(index, axis=1)


class Packer:
    """Packs an image's fields part by part: a header, the foreground as bits, its values as float16.

    The result does not depend on how the image was divided. Memory: a byte per pixel, and the foreground's values.
    """

    def __init__(self, shape: tuple[int, int], unit: float, background: NDArray[np.bool_] | None = None) -> None:
        """`background`: (H, W), pixels that are no foreground, whatever the network gives there."""
        self.shape = shape
        self._unit, self._background = unit, background
        self._foreground = np.zeros(shape, np.bool_)
        self._pieces: list[_Piece] = []

    def add(self, part: CompactFields | Floats, top: int, left: int) -> None:
        """Add a part of the image whose first pixel is (`top`, `left`). Raises `InvalidFields` as `compact` does."""
        fields = part if isinstance(part, CompactFields) else compact(part)
        height, width = fields.foreground.shape
        if self._background is not None:
            fields = _without(fields, self._background[top : top + height, left : left + width])
        self._foreground[top : top + height, left : left + width] = fields.foreground
        self._pieces.append(_Piece(top, left, np.count_nonzero(fields.foreground, axis=1), fields.values))

    def finish(self) -> bytes:
        """Return the packed fields, after all parts of the image are added."""
        values = self._in_order()
        header = _HEADER.pack(_MAGIC, len(values) - 3, self._unit, *self.shape)
        return b"".join([header, np.packbits(self._foreground).data, values.data])

    def _in_order(self) -> NDArray[np.float16]:
        """The values of all pieces, (2 + bandwidths + 1, N), in the image's row-major order; frees the pieces."""
        if len(self._pieces) == 1:
            return self._pieces.pop().values
        rows = np.count_nonzero(self._foreground, axis=1)
        next_index = np.cumsum(rows) - rows  # in each row, the position of the next piece's first value
        values = np.empty((len(self._pieces[0].values), int(rows.sum())), "<f2")
        self._pieces.sort(key=lambda piece: -piece.left)
        while self._pieces:
            piece = self._pieces.pop()
            starts = next_index[piece.top : piece.top + len(piece.counts)]
            shift = starts - np.cumsum(piece.counts) + piece.counts
            values[:, np.repeat(shift, piece.counts) + np.arange(piece.values.shape[1])] = piece.values
            starts += piece.counts  # a view: advances next_index
        return values


def _without(fields: CompactFields, background: NDArray[np.bool_]) -> CompactFields:
    """The fields without these pixels' foreground."""
    kept = ~background[fields.foreground]
    return CompactFields(fields.foreground & ~background, np.ascontiguousarray(fields.values[:, kept]))


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
    """Pack the raw fields (2 + bandwidths + 1, H, W) of an image. Raises `InvalidFields` as `compact` does."""
    packer = Packer((raw.shape[1], raw.shape[2]), unit)
    packer.add(raw, 0, 0)
    return packer.finish()


def unpack(data: bytes) -> Foreground:
    """Unpack what `pack` or `Packer` returned. Raises `InvalidFields` if the bytes are anything else."""
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
