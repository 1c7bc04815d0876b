"""Kinds of damage: functions of a source of random numbers and a file that return the damaged file."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from random import Random
from typing import TypeAlias

from .valid import valid

Damage: TypeAlias = Callable[[Random, bytes], bytes]

#: Numbers at the limits of integer types, for lengths, offsets and sizes.
_EXTREMES = (0, 1, 2, 7, 8, 127, 128, 255, 256, 32_767, 32_768, 65_535, 65_536, 2**24, 2**31 - 1, 2**31, 2**32 - 1)


def _number(random: Random) -> bytes:
    """An extreme number, in either byte order, of two bytes if it fits and of four otherwise."""
    value = random.choice(_EXTREMES)
    return struct.pack(random.choice("<>") + random.choice("HI"), value % 65_536) if value < 65_536 else (
        struct.pack(random.choice("<>") + "I", value)
    )  # fmt: skip


def _put(data: bytes, offset: int, patch: bytes) -> bytes:
    return data[:offset] + patch + data[offset + len(patch) :]


def truncated(random: Random, data: bytes) -> bytes:
    """The file's beginning."""
    return data[: random.randrange(len(data))]


def flipped(random: Random, data: bytes) -> bytes:
    """The file with flipped bits."""
    changed = bytearray(data)
    for _ in range(random.randint(1, 8)):
        changed[random.randrange(len(data))] ^= 1 << random.randrange(8)
    return bytes(changed)


def numbers(random: Random, data: bytes) -> bytes:
    """The file with extreme numbers at any place."""
    for _ in range(random.randint(1, 6)):
        data = _put(data, random.randrange(len(data)), _number(random))
    return data


def header_numbers(random: Random, data: bytes) -> bytes:
    """The file with extreme numbers in bytes 6 to 63."""
    for _ in range(random.randint(1, 3)):
        data = _put(data, random.randrange(6, min(64, len(data))), _number(random))
    return data


def removed(random: Random, data: bytes) -> bytes:
    """The file without some bytes."""
    offset = random.randrange(len(data))
    return data[:offset] + data[offset + random.randint(1, 64) :]


def repeated(random: Random, data: bytes) -> bytes:
    """The file with a piece repeated."""
    offset = random.randrange(len(data))
    piece = data[offset : offset + random.randint(1, 200)]
    return data[:offset] + piece * random.randint(2, 20) + data[offset + len(piece) :]


def overwritten(random: Random, data: bytes) -> bytes:
    """The file with a piece of zeros or ones."""
    offset = random.randrange(8, len(data))
    piece = random.choice([b"\x00", b"\xff"]) * random.randint(1, 300)
    return _put(data, offset, piece)[: len(data)]


def joined(random: Random, data: bytes) -> bytes:
    """The file's beginning and the end of another."""
    other = random.choice(list(valid().values()))
    return data[: random.randrange(12, len(data))] + other[random.randrange(len(other)) :]


def field(random: Random, data: bytes) -> bytes:
    """The file with a changed field of its format, and right checksums, so that readers find the fault late."""
    if data[:4] == b"\x89PNG":
        return _png_field(random, data)
    if data[:2] in (b"II", b"MM"):
        return _tiff_field(random, data)
    if data[:2] == b"\xff\xd8":
        return _jpeg_field(random, data)
    if data[:6] == b"\x93NUMPY":
        return _npy_field(random, data)
    return header_numbers(random, data)


def _png_field(random: Random, data: bytes) -> bytes:
    """The file with a changed or moved chunk."""
    chunks, offset = [], 8
    while offset + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, offset)
        chunks.append((data[offset + 4 : offset + 8], data[offset + 8 : offset + 8 + length]))
        offset += 12 + length
    index = random.randrange(len(chunks))
    kind, body = chunks[index]
    if body and random.random() < 0.8:
        chunks[index] = (kind, _put(body, random.randrange(len(body)), _number(random)[:2]))
    else:
        chunks.insert(random.randrange(len(chunks)), chunks.pop(index))
    parts = [struct.pack(">I", len(b)) + k + b + struct.pack(">I", zlib.crc32(k + b)) for k, b in chunks]
    return data[:8] + b"".join(parts)


def _tiff_field(random: Random, data: bytes) -> bytes:
    """The file with an extreme number as the number, kind, count or value of a tag."""
    order, big = "<" if data[:1] == b"I" else ">", b"+" in data[2:4]
    (start,) = struct.unpack_from(order + ("Q" if big else "I"), data, 8 if big else 4)
    (count,) = struct.unpack_from(order + ("Q" if big else "H"), data, start)
    entry, size = start + (8 if big else 2), 20 if big else 12
    for _ in range(random.randint(1, 2)):
        tag, value = entry + size * random.randrange(count), random.choice(_EXTREMES)
        offset, letter = random.choice(
            [(0, "H"), (2, "H"), (4, "Q"), (12, "Q")] if big else [(0, "H"), (2, "H"), (4, "I"), (8, "I")]
        )
        data = _put(data, tag + offset, struct.pack(order + letter, value % (65_536 if letter == "H" else 2**32)))
    return data


def _jpeg_field(random: Random, data: bytes) -> bytes:
    """The file with changed bytes in its segments before the pixels."""
    offsets = [offset for offset in range(2, data.index(b"\xff\xda") + 12) if offset > 20]
    for _ in range(random.randint(1, 3)):
        data = _put(data, random.choice(offsets), bytes([random.choice((0, 1, 2, 17, 127, 128, 255))]))
    return data


def _npy_field(random: Random, data: bytes) -> bytes:
    """The file with a changed word in its header."""
    old = random.choice([b"descr", b"fortran_order", b"shape", b"False", b"True", b"29", b"37", b"<", b"u", b"f", b"("])
    new = random.choice([b"-1", b"None", b"0", b"9" * 30, b"O", b"''", b"[", b"1e9", b"(1,1)", b"True", b"\x00", b"i8"])
    return data[:10] + data[10:].replace(old, new, 1)


DAMAGES: dict[str, Damage] = {
    damage.__name__: damage
    for damage in (truncated, flipped, numbers, header_numbers, removed, repeated, overwritten, joined, field)
}
