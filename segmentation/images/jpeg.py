"""Check a JPEG's structure before a decoder reads it, against files built to waste time and memory.

libjpeg visits the whole picture in every scan, and a scan can be as short as forty bytes. Pillow keeps every segment,
which can be as short as four bytes, and reads each byte between segments.
"""

import re

from ..errors import NotAnImage

MAGIC = b"\xff\xd8\xff"
#: Encoders write 1 to about 12. An empty scan costs half a millisecond per megapixel.
_MAX_SCANS = 100
#: A colour profile can take 255 segments, other metadata one per 64 KB.
_MAX_SEGMENTS = 10_000
#: Bytes of padding in the header.
_MAX_PADDING = 65_536
_START_OF_SCAN, _END_OF_IMAGE = 0xDA, 0xD9
#: A marker that starts a segment: not a stuffed byte, a restart or padding.
_MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd7\xff]")


def check_structure(data: bytes, name: str) -> None:
    """Raises `NotAnImage` if a JPEG has more scans, segments or padding than any real picture."""
    scans, segments, padding, offset = 0, 0, 0, 2
    while marker := _MARKER.search(data, offset):
        kind, body = data[marker.end() - 1], marker.end()
        if not scans:
            padding += marker.start() - offset
        segments += 1
        scans += kind == _START_OF_SCAN
        _check_count(scans, _MAX_SCANS, "scans", name)
        _check_count(segments, _MAX_SEGMENTS, "segments", name)
        _check_count(padding, _MAX_PADDING, "bytes of padding", name)
        if kind == _END_OF_IMAGE:
            return
        offset = body + int.from_bytes(data[body : body + 2], "big")


def _check_count(count: int, limit: int, unit: str, name: str) -> None:
    if count > limit:
        raise NotAnImage(f"{name}: a JPEG of more than {limit:,} {unit}; save it anew, as a baseline JPEG")
