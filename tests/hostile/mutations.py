"""Ways to damage a file. Each takes a source of chance and a file, and gives the damaged one."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from random import Random
from typing import TypeAlias

from .valid import valid

Mutation: TypeAlias = Callable[[Random, bytes], bytes]

#: Numbers that lengths, offsets and sizes choke on.
_NASTY = (0, 1, 2, 7, 8, 127, 128, 255, 256, 32_767, 32_768, 65_535, 65_536, 2**24, 2**31 - 1, 2**31, 2**32 - 1)


def _number(random: Random) -> bytes:
    value = random.choice(_NASTY)
    return struct.pack(random.choice("<>") + random.choice("HI"), value % 65_536) if value < 65_536 else (
        struct.pack(random.choice("<>") + "I", value)
    )  # fmt: skip


def _put(data: bytes, at: int, patch: bytes) -> bytes:
    return data[:at] + patch + data[at + len(patch) :]


def truncated(random: Random, data: bytes) -> bytes:
    return data[: random.randrange(len(data))]


def flipped(random: Random, data: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(random.randint(1, 8)):
        changed[random.randrange(len(data))] ^= 1 << random.randrange(8)
    return bytes(changed)


def patched(random: Random, data: bytes) -> bytes:
    for _ in range(random.randint(1, 6)):
        data = _put(data, random.randrange(len(data)), _number(random))
    return data


def misheaded(random: Random, data: bytes) -> bytes:
    """Numbers in its first bytes, but not the very first, set anew."""
    for _ in range(random.randint(1, 3)):
        data = _put(data, random.randrange(6, min(64, len(data))), _number(random))
    return data


def thinned(random: Random, data: bytes) -> bytes:
    at = random.randrange(len(data))
    return data[:at] + data[at + random.randint(1, 64) :]


def doubled(random: Random, data: bytes) -> bytes:
    at = random.randrange(len(data))
    piece = data[at : at + random.randint(1, 200)]
    return data[:at] + piece * random.randint(2, 20) + data[at + len(piece) :]


def blanked(random: Random, data: bytes) -> bytes:
    at = random.randrange(8, len(data))
    piece = random.choice([b"\x00", b"\xff"]) * random.randint(1, 300)
    return _put(data, at, piece)[: len(data)]


def spliced(random: Random, data: bytes) -> bytes:
    """The beginning of this one and the end of another."""
    other = random.choice(list(valid().values()))
    return data[: random.randrange(12, len(data))] + other[random.randrange(len(other)) :]


def misstructured(random: Random, data: bytes) -> bytes:
    """A field of the format's own set anew, sums put right, so that what is wrong is met late."""
    if data[:4] == b"\x89PNG":
        return _png(random, data)
    if data[:2] in (b"II", b"MM"):
        return _tiff(random, data)
    if data[:2] == b"\xff\xd8":
        return _jpeg(random, data)
    if data[:6] == b"\x93NUMPY":
        return _npy(random, data)
    return misheaded(random, data)


def _png(random: Random, data: bytes) -> bytes:
    chunks, at = [], 8
    while at + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, at)
        chunks.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + length]))
        at += 12 + length
    which = random.randrange(len(chunks))
    kind, body = chunks[which]
    if body and random.random() < 0.8:
        chunks[which] = (kind, _put(body, random.randrange(len(body)), _number(random)[:2]))
    else:
        chunks.insert(random.randrange(len(chunks)), chunks.pop(which))
    parts = [struct.pack(">I", len(b)) + k + b + struct.pack(">I", zlib.crc32(k + b)) for k, b in chunks]
    return data[:8] + b"".join(parts)


def _tiff(random: Random, data: bytes) -> bytes:
    """A tag's number, kind, count or value."""
    order, big = "<" if data[:1] == b"I" else ">", b"+" in data[2:4]
    (start,) = struct.unpack_from(order + ("Q" if big else "I"), data, 8 if big else 4)
    (count,) = struct.unpack_from(order + ("Q" if big else "H"), data, start)
    entry, size = start + (8 if big else 2), 20 if big else 12
    for _ in range(random.randint(1, 2)):
        at, value = entry + size * random.randrange(count), random.choice(_NASTY)
        offset, letter = random.choice(
            [(0, "H"), (2, "H"), (4, "Q"), (12, "Q")] if big else [(0, "H"), (2, "H"), (4, "I"), (8, "I")]
        )
        data = _put(data, at + offset, struct.pack(order + letter, value % (65_536 if letter == "H" else 2**32)))
    return data


def _jpeg(random: Random, data: bytes) -> bytes:
    """A byte of a segment before the pixels."""
    places = [at for at in range(2, data.index(b"\xff\xda") + 12) if at > 20]
    for _ in range(random.randint(1, 3)):
        data = _put(data, random.choice(places), bytes([random.choice((0, 1, 2, 17, 127, 128, 255))]))
    return data


def _npy(random: Random, data: bytes) -> bytes:
    """A word of the header."""
    old = random.choice([b"descr", b"fortran_order", b"shape", b"False", b"True", b"29", b"37", b"<", b"u", b"f", b"("])
    new = random.choice([b"-1", b"None", b"0", b"9" * 30, b"O", b"''", b"[", b"1e9", b"(1,1)", b"True", b"\x00", b"i8"])
    return data[:10] + data[10:].replace(old, new, 1)


MUTATIONS: dict[str, Mutation] = {
    made.__name__: made
    for made in (truncated, flipped, patched, misheaded, thinned, doubled, blanked, spliced, misstructured)
}
