"""The structure of a JPEG, looked at before anyone follows it.

libjpeg goes over all of the picture in every scan, and a scan may have forty bytes; Pillow keeps every segment, of
which one may have four, and looks at each byte between them.
"""

from __future__ import annotations

import re

from ..errors import NotAnImage

MAGIC = b"\xff\xd8\xff"
#: Encoders write 1 to about 12. A scan without content costs half a millisecond a megapixel.
_MOST_SCANS = 100
#: A colour profile may take 255, other metadata one for every 64 KB.
_MOST_SEGMENTS = 10_000
#: Bytes of padding in the header.
_MOST_PADDING = 65_536
_START_OF_SCAN, _END_OF_IMAGE = 0xDA, 0xD9
#: A marker that a segment follows: not a stuffed byte, a restart or padding.
_MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd7\xff]")


def check_structure(data: bytes, name: str) -> None:
    """Raises `NotAnImage` where a JPEG has more scans, segments or padding than any that is meant to be looked at."""
    scans, segments, padding, at = 0, 0, 0, 2
    while found := _MARKER.search(data, at):
        marker, body = data[found.end() - 1], found.end()
        if not scans:
            padding += found.start() - at
        segments += 1
        scans += marker == _START_OF_SCAN
        _check_count(scans, _MOST_SCANS, "scans", name)
        _check_count(segments, _MOST_SEGMENTS, "segments", name)
        _check_count(padding, _MOST_PADDING, "bytes of padding", name)
        if marker == _END_OF_IMAGE:
            return
        at = body + int.from_bytes(data[body : body + 2], "big")


def _check_count(count: int, most: int, what: str, name: str) -> None:
    if count > most:
        raise NotAnImage(f"{name}: a JPEG of more than {most:,} {what}; save it anew, as a baseline JPEG")
