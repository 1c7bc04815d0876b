"""NumPy arrays that lie, are of no use, or set their reader a trap."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np

from tests.image_files import Array, npy, npy_header, npy_text

from .trap import CUT, EMPTY, LARGE, NAN, NOT, PIXELS, Traps, trap


def traps() -> Traps:
    found = _lies() | _values() | _headers()
    return {f"npy/{name}": made for name, made in found.items()}


def _lies() -> Traps:
    shapes = {
        "negative": (CUT, "(-1, 5)"),
        "two-negatives": (CUT, "(-300, -300)"),
        "huge": (LARGE, "(100000, 100000)"),
        "within-limits-but-not-there": (CUT, "(500, 500)"),
        "beyond-64-bits": (LARGE, f"(1, {10**26})"),
        "beyond-printing": (CUT + " " + LARGE, f"({'9' * 480}, {'9' * 480})"),
        "no-rows": (EMPTY, "(0, 5)"),
        "no-rows-but-wide": (EMPTY, f"(0, {10**26})"),
        "no-channels": (EMPTY, "(5, 5, 0)"),
        "no-dimension": (NOT, "()"),
        "one-dimension": (NOT, "(5,)"),
        "four-dimensions": (NOT, "(1, 1, 1, 1)"),
        "of-booleans": (CUT, "(True, True)"),
        "of-floats": (CUT, "(1.0, 1.0)"),
        "of-none": (CUT, "None"),
        "17-channels": (NOT, "(1, 1, 17)"),
        "2-billion-channels": (NOT, "(1, 1, 2147483647)"),
    }
    return {f"shape-{name}": trap(wanted, npy_header(shape)) for name, (wanted, shape) in shapes.items()}


def _values() -> Traps:
    plain = np.arange(30, dtype=np.float64).reshape(5, 6)

    def spoilt(value: float, kind: str) -> bytes:
        pixels = plain.astype(kind)
        pixels[2, 3] = value
        return npy(pixels)

    arrays: dict[str, tuple[str, Array]] = {
        "100000-by-1": (PIXELS, np.arange(100_000, dtype=np.uint8)[:, None] % 251),
        "1-by-100000": (PIXELS, np.arange(100_000, dtype=np.uint8)[None] % 251),
        "16-channels": (PIXELS, np.zeros((5, 6, 16), np.uint16)),
        "largest-doubles": (PIXELS, np.full((5, 6), np.finfo(np.float64).max)),
        "both-ends-of-doubles": (PIXELS, np.finfo(np.float64).max * np.array([[1.0, -1.0], [-1.0, 1.0]])),
        "denormals": (PIXELS, np.full((5, 6), 5e-324)),
        "ends-of-int64": (PIXELS, np.array([[-(2**63), 2**63 - 1]], np.int64)),
        "ends-of-uint64": (PIXELS, np.array([[0, 2**64 - 1]], np.uint64)),
        "booleans": (PIXELS, plain > 9),
        "fortran-order": (PIXELS, np.asfortranarray(plain)),
        "big-endian": (PIXELS, plain.astype(">f4")),
        "long-doubles": (PIXELS, plain.astype(np.longdouble)),
        "one-pixel": (PIXELS, np.zeros((1, 1), np.float16)),
        "complex": (NOT, plain.astype(complex)),
        "dates": (NOT, np.zeros((2, 2), "M8[s]")),
        "records": (NOT, np.zeros((2, 2), [("red", "u1"), ("green", "O")])),
        "words": (NOT, np.array([["a", "b"]])),
        "too-many-pixels": (LARGE, np.zeros((300, 1001), np.uint8)),
        "too-many-bytes": (LARGE, np.zeros((500, 501), np.float64)),
    }
    found = {name: trap(wanted, npy(pixels, pickled=True)) for name, (wanted, pixels) in arrays.items()}
    spoilers = [(value, kind) for value in (np.nan, np.inf, -np.inf) for kind in ("f2", "f4", "f8", "g")]
    return found | {f"{value}-in-{kind}": trap(NAN, spoilt(value, kind)) for value, kind in spoilers}


class _Trigger:
    """Pickled, it runs a command when it is read."""

    def __reduce__(self) -> tuple[Any, ...]:
        import os

        return os._exit, (99,)


def _headers() -> Traps:
    def nested(text: str) -> bytes:
        return npy_text(f"{{'descr': '|u1', 'fortran_order': False, 'shape': ({text}1, 1)}}", b"\0")

    def version(number: int, header: bytes, claimed: int) -> bytes:
        return b"\x93NUMPY" + bytes([number, 0]) + struct.pack("<I", claimed) + header

    plain = b"{'descr': '|u1', 'fortran_order': False, 'shape': (1, 1)}\n"
    return {
        "pickle-that-ends-the-process": trap(NOT, npy(np.array([[_Trigger()]]), pickled=True)),
        "minus-9000-deep": trap(CUT, nested("-" * 9_000)),
        "minus-60000-deep": trap(CUT, nested("-" * 60_000)),
        "minus-900-deep": trap(CUT + " " + PIXELS, nested("-" * 900)),
        "brackets": trap(CUT, npy_text("[" * 1_000)),
        "lambdas": trap(CUT, npy_text("lambda:" * 140)),
        "zero-bytes": trap(CUT, npy_text("\0" * 1_000)),
        "code": trap(CUT, npy_text("__import__('os')._exit(99)")),
        "product": trap(CUT, npy_header("(9**9**9, 1)")),
        "digits": trap(CUT, npy_header(f"({'9' * 9_000}, 1)")),
        "python-2": trap(CUT + " " + PIXELS, npy_header("(1L, 1L)", body=b"\0")),
        "key-missing": trap(CUT, npy_text("{'descr': '|u1', 'shape': (1, 1)}")),
        "key-too-many": trap(CUT, npy_text("{'descr': '|u1', 'fortran_order': False, 'shape': (1, 1), 'a': 1}")),
        "object": trap(NOT, npy_header("(1, 1)", "|O", b"cos\n_exit\n(I99\ntR.")),
        "void-of-4-gigabytes": trap(CUT + " " + NOT, npy_header("(1, 1)", "|V4294967295")),
        "text-of-8-gigabytes": trap(CUT + " " + NOT, npy_header("(1, 1)", "<U2147483647")),
        "array-as-type": trap(CUT + " " + NOT, npy_header("(1, 1)", "(30000,30000)f8")),
        "length-of-4-gigabytes": trap(CUT, version(2, plain, 2**32 - 1)),
        "version-3": trap(PIXELS, version(3, plain + b"\0", len(plain))),
        "version-9": trap(CUT, version(9, plain, len(plain))),
        "nothing-but-the-name": trap(CUT, b"\x93NUMPY"),
        "no-header": trap(CUT, b"\x93NUMPY\x01\x00\x00\x00"),
        "bytes-after-it": trap(PIXELS, npy(np.zeros((5, 6), np.uint8)) + b"PK\3\4" + bytes(100)),
    }
