"""TIFFs of microscopes, made by hand after what their readers document: MetaMorph STK and Zeiss LSM."""

import struct
from dataclasses import dataclass

import numpy as np

from ..pictures import HEIGHT, WIDTH, Array, plane, planes
from .arrays import stack
from .sample import BY_HAND, Kept, Samples

_UIC1, _UIC2, _LSM_INFO = 33628, 33629, 34412
#: Bytes between a directory and its strips, for values that do not fit into the directory.
_VALUES = 640


@dataclass(frozen=True)
class _Tag:
    """A TIFF tag: the kind and the number of its values, and their bytes."""

    kind: int
    count: int
    raw: bytes


def microscopes() -> Samples:
    """Stacks of MetaMorph, and of Zeiss with one and with three channels, each page with its thumbnail."""
    frames = stack("grey8", 3)
    size = {"pixel_size": "0.5 0.25"}
    add = Kept(BY_HAND, "TIFF: microscopes", "hand")
    yield add("z.stk", _stk(frames, distance=1), "MetaMorph STK", "grey8", **size, axes="Z=3")
    yield add("t.stk", _stk(frames, distance=0), "MetaMorph STK", "grey8", **size, axes="T=3")
    yield add("one.stk", _stk(frames[:1], distance=0), "MetaMorph STK of one plane", "grey8", **size)
    lsm = "Zeiss LSM with thumbnails"
    yield add("z.lsm", _lsm(frames[:2, None]), lsm, "grey8", **size, axes="Z=2")
    yield add("one.lsm", _lsm(frames[:1, None]), lsm, "grey8", **size)
    channels = np.moveaxis(planes("stains3", 2), -1, 1)
    yield add("channels.lsm", _lsm(channels), lsm, "stains3", **size, axes="Z=2")


def _shorts(*values: int) -> _Tag:
    return _Tag(3, len(values), struct.pack(f"<{len(values)}H", *values))


def _longs(*values: int) -> _Tag:
    return _Tag(4, len(values), struct.pack(f"<{len(values)}I", *values))


def _plain(height: int, width: int, channels: int = 1) -> dict[int, _Tag]:
    """The tags of an uncompressed 8-bit page with a strip for each channel."""
    return {
        256: _longs(width), 257: _longs(height), 258: _shorts(*[8] * channels), 259: _shorts(1), 262: _shorts(1),
        277: _shorts(channels), 278: _longs(height), 284: _shorts(2 if channels > 1 else 1),
    }  # fmt: skip


def _page(tags: dict[int, _Tag], start: int, strips: list[bytes], *, last: bool) -> bytes:
    """A directory at byte `start`, then its values, then its strips."""
    values_start = start + 2 + 12 * (len(tags) + 2) + 4
    offsets = [values_start + _VALUES + sum(map(len, strips[:index])) for index in range(len(strips))]
    tags = tags | {273: _longs(*offsets), 279: _longs(*map(len, strips))}
    entries = values = b""
    for number, tag in sorted(tags.items()):
        place = tag.raw.ljust(4, b"\0")
        if len(tag.raw) > 4:
            place = struct.pack("<I", values_start + len(values))
            values += tag.raw
        entries += struct.pack("<HHI", number, tag.kind, tag.count) + place
    assert len(values) <= _VALUES
    end = offsets[-1] + len(strips[-1])
    directory = struct.pack("<H", len(tags)) + entries + struct.pack("<I", 0 if last else end)
    return directory + values.ljust(_VALUES, b"\0") + b"".join(strips)


def _stk(frames: Array, *, distance: int) -> bytes:
    """One directory; the other planes follow the strip of the first.

    UIC2 has six integers for each plane, its count is that of planes. UIC1 has pairs of a number and an offset: pixel
    width, height, unit.
    """
    calibration = 8 + 2 + 12 * 12 + 4 + _VALUES + frames.nbytes
    uic1 = struct.pack("<6I", 4, calibration, 5, calibration + 8, 6, calibration + 16)
    uic2 = b"".join(struct.pack("<6I", distance, 1, 2_451_545, 1000 * i, 0, 0) for i in range(len(frames)))
    tags = _plain(HEIGHT, WIDTH) | {_UIC1: _Tag(4, 3, uic1), _UIC2: _Tag(5, len(frames), uic2)}
    page = _page(tags, 8, [frames[0].tobytes()], last=True)
    sizes = struct.pack("<4I", 1, 4, 1, 2) + struct.pack("<I", 3) + b"um\0"
    return struct.pack("<2sHI", b"II", 42, 8) + page + frames[1:].tobytes() + sizes


def _lsm(volume: Array) -> bytes:
    """(Z, C, H, W): two pages for each plane, the second one a thumbnail; each channel of a plane is a strip."""
    depth, channels = volume.shape[:2]
    info = struct.pack(
        "<I9i6d2H", 0x0400494C, 512, WIDTH, HEIGHT, depth, channels, 1, 1, WIDTH // 2, HEIGHT // 2,
        0.25e-6, 0.5e-6, 1e-6, 0, 0, 0, 0, 0,
    )  # fmt: skip
    data = struct.pack("<2sHI", b"II", 42, 8)
    for index in range(depth):
        tags = _plain(HEIGHT, WIDTH, channels) | {254: _longs(0)}
        if index == 0:
            tags[_LSM_INFO] = _Tag(1, 512, info.ljust(512, b"\0"))
        data += _page(tags, len(data), [channel.tobytes() for channel in volume[index]], last=False)
        small = _plain(HEIGHT // 2, WIDTH // 2, 3) | {254: _longs(1), 262: _shorts(2)}
        thumbnail = plane(volume[index, 0], 1)[::2, ::2].tobytes()
        data += _page(small, len(data), [thumbnail] * 3, last=index == depth - 1)
    return data
