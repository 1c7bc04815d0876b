"""NumPy arrays whose headers are wrong, or whose values are unusual."""

from __future__ import annotations

import pickle
import struct

import numpy as np

from tests.image_files import Array, npy, npy_header, npy_text

from .case import CUT, EMPTY, LARGE, NAN, NOT, PIXELS, Cases, case


def cases() -> Cases:
    """The arrays, by name."""
    found = _shapes() | _values() | _headers()
    return {f"npy/{name}": made for name, made in found.items()}


def _shapes() -> Cases:
    """Headers with shapes that are no image's, or that the file has no pixels for."""
    shapes = {
        "negative": (CUT, "(-1, 5)"),
        "two-negatives": (CUT, "(-300, -300)"),
        "over-the-limit": (LARGE, "(700, 700)"),
        "within-the-limit-without-pixels": (CUT, "(500, 500)"),
        "over-64-bits": (LARGE, f"(1, {10**26})"),
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
        "3000-channels": (NOT, "(1, 1, 3000)"),
    }
    return {f"shape-{name}": case(outcomes, npy_header(shape)) for name, (outcomes, shape) in shapes.items()}


def _values() -> Cases:
    """Unusual shapes, types and values."""
    plain = np.arange(30, dtype=np.float64).reshape(5, 6)

    def plain_with(value: float, kind: str) -> bytes:
        pixels = plain.astype(kind)
        pixels[2, 3] = value
        return npy(pixels)

    arrays: dict[str, tuple[str, Array]] = {
        "100000-by-1": (PIXELS, np.arange(100_000, dtype=np.uint8)[:, None] % 251),
        "1-by-100000": (PIXELS, np.arange(100_000, dtype=np.uint8)[None] % 251),
        "16-channels": (NOT, np.zeros((5, 6, 16), np.uint16)),
        "largest-doubles": (PIXELS, np.full((5, 6), np.finfo(np.float64).max)),
        "largest-and-smallest-doubles": (PIXELS, np.finfo(np.float64).max * np.array([[1.0, -1.0], [-1.0, 1.0]])),
        "denormals": (PIXELS, np.full((5, 6), 5e-324)),
        "extremes-of-int64": (PIXELS, np.array([[-(2**63), 2**63 - 1]], np.int64)),
        "extremes-of-uint64": (PIXELS, np.array([[0, 2**64 - 1]], np.uint64)),
        "booleans": (PIXELS, plain > 9),
        "fortran-order": (PIXELS, np.asfortranarray(plain)),
        "big-endian": (PIXELS, plain.astype(">f4")),
        "long-doubles": (PIXELS, plain.astype(np.longdouble)),
        "one-pixel": (PIXELS, np.zeros((1, 1), np.float16)),
        "complex": (NOT, plain.astype(complex)),
        "dates": (NOT, np.zeros((2, 2), "M8[s]")),
        "records": (NOT, np.zeros((2, 2), [("red", "u1"), ("green", "O")])),
        "objects": (NOT, np.array([[None, 1]])),
        "strings": (NOT, np.array([["a", "b"]])),
        "too-many-pixels": (LARGE, np.zeros((300, 1001), np.uint8)),
        "too-many-bytes": (LARGE, np.zeros((500, 501), np.float64)),
    }
    found = {name: case(outcomes, npy(pixels, pickled=True)) for name, (outcomes, pixels) in arrays.items()}
    non_finite = [(value, kind) for value in (np.nan, np.inf, -np.inf) for kind in ("f2", "f4", "f8", "g")]
    return found | {f"{value}-in-{kind}": case(NAN, plain_with(value, kind)) for value, kind in non_finite}


def _headers() -> Cases:
    """Headers that numpy does not write.

    numpy 2.4.6 parses a header as Python, which has run out of memory on deep nesting, and reads an array of objects
    with pickle, which can run any program. Here nesting is ten deep, and the objects are None.
    """

    def version(number: int, header: bytes, size: int) -> bytes:
        return b"\x93NUMPY" + bytes([number, 0]) + struct.pack("<I", size) + header

    plain = b"{'descr': '|u1', 'fortran_order': False, 'shape': (1, 1)}\n"
    return {
        "header-longer-than-numpy-writes": case(CUT, npy_text(plain.decode().ljust(600), b"\0")),
        "ten-minus-signs": case(CUT, npy_header("(----------1, 1)", body=b"\0")),
        "ten-brackets": case(CUT, npy_text("[" * 10)),
        "ten-lambdas": case(CUT, npy_text("lambda:" * 10)),
        "zero-bytes": case(CUT, npy_text("\0" * 100)),
        "code": case(CUT, npy_text("print('no header')")),
        "product": case(CUT, npy_header("(2 * 3, 1)")),
        "python-2": case(CUT + " " + PIXELS, npy_header("(1L, 1L)", body=b"\0")),
        "key-missing": case(CUT, npy_text("{'descr': '|u1', 'shape': (1, 1)}")),
        "key-too-many": case(CUT, npy_text("{'descr': '|u1', 'fortran_order': False, 'shape': (1, 1), 'a': 1}")),
        "objects-by-hand": case(NOT, npy_header("(1, 1)", "|O", pickle.dumps([None]))),
        "void": case(CUT + " " + NOT, npy_header("(1, 1)", "|V40")),
        "text": case(CUT + " " + NOT, npy_header("(1, 1)", "<U20")),
        "array-as-type": case(CUT + " " + NOT, npy_header("(1, 1)", "(30,30)f8")),
        "header-longer-than-the-file": case(CUT, version(2, plain, 100_000)),
        "version-3": case(PIXELS, version(3, plain + b"\0", len(plain))),
        "version-9": case(CUT, version(9, plain, len(plain))),
        "nothing-but-the-magic": case(CUT, b"\x93NUMPY"),
        "no-header": case(CUT, b"\x93NUMPY\x01\x00\x00\x00"),
        "trailing-bytes": case(PIXELS, npy(np.zeros((5, 6), np.uint8)) + b"PK\3\4" + bytes(100)),
    }
