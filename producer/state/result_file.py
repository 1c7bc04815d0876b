"""A result as one file: the objects and the labels together, so that an object store is asked once for both.

8 bytes are the size of the objects (big-endian), then come the objects, then the labels.
"""

from __future__ import annotations

_HEAD = 8


def join(objects: bytes, labels: bytes) -> bytes:
    """The file of both."""
    return b"".join((len(objects).to_bytes(_HEAD, "big"), objects, labels))


def objects(head: bytes, size: int) -> tuple[int, int]:
    """Where the objects begin and end, by the file's first bytes and its size."""
    return _HEAD, _HEAD + int.from_bytes(head[:_HEAD], "big")


def labels(head: bytes, size: int) -> tuple[int, int]:
    """Where the labels begin and end, by the file's first bytes and its size."""
    return objects(head, size)[1], size
