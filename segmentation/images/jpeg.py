"""Check a JPEG's structure before a decoder reads it, against files built to waste time and memory.

libjpeg visits the whole picture in every scan, and a scan can be as short as forty bytes. Pillow keeps every segment,
which can be as short as four bytes, and reads each byte between segments.
"""

import re

from ..errors import NotAnImage

MAGIC = b"\xff\xd8\xff"
#: What frames are called that Pillow does not decode, by the last byte of their marker.
_RARE_FRAMES = {
    0xC3: "lossless", 0xC5: "hierarchical", 0xC6: "hierarchical", 0xC7: "hierarchical lossless", 0xC9: "arithmetic",
    0xCA: "arithmetic", 0xCB: "arithmetic lossless", 0xCD: "arithmetic hierarchical", 0xCE: "arithmetic hierarchical",
    0xCF: "arithmetic hierarchical", 0xF7: "JPEG-LS",
}  # fmt: skip
_USUAL_FRAMES = (0xC0, 0xC1, 0xC2)
#: The segment of JPEG XT's boxes, and those with the part of the picture that other decoders do not see.
_XT_SEGMENT, _XT_BOXES = 0xEB, (b"RESI", b"FINE", b"RFIN")
_USUAL_DEPTH = 8
#: Encoders write 1 to about 12. An empty scan costs half a millisecond per megapixel.
_MAX_SCANS = 100
#: A colour profile can take 255 segments, other metadata one per 64 KB.
_MAX_SEGMENTS = 10_000
#: Bytes of padding in the header.
_MAX_PADDING = 65_536
_START_OF_SCAN, _END_OF_IMAGE = 0xDA, 0xD9
#: A marker that starts a segment: not a stuffed byte, a restart or padding.
_MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd7\xff]")


def check_kind(data: bytes, name: str) -> None:
    """Raises `NotAnImage` for a JPEG that is lossless, arithmetic, of 12 bits, JPEG-LS or JPEG XT."""
    offset = 2
    while marker := _MARKER.search(data, offset):
        kind, body = data[marker.end() - 1], marker.end()
        depth = data[body + 2 : body + 3]
        if kind in _RARE_FRAMES or (kind in _USUAL_FRAMES and depth != bytes([_USUAL_DEPTH]) and depth):
            rare = _RARE_FRAMES.get(kind) or f"{depth[0]}-bit"
            raise NotAnImage(
                f"{name}: a JPEG of the rare kind {rare!r}, which maskq does not read; save it as PNG or TIFF"
            )
        if kind == _XT_SEGMENT and data[body + 2 : body + 4] == b"JP" and data[body + 14 : body + 18] in _XT_BOXES:
            raise NotAnImage(f"{name}: a JPEG XT, which maskq does not read; save it as a baseline JPEG, PNG or TIFF")
        if kind in _USUAL_FRAMES or kind == _START_OF_SCAN:
            return
        offset = body + int.from_bytes(data[body : body + 2], "big")


def check_structure(data: bytes, name: str) -> int:
    """The offset where the first picture of a JPEG file ends.

    Raises `NotAnImage` if it has more scans, segments or padding than any real picture.
    """
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
            return body
        offset = body + int.from_bytes(data[body : body + 2], "big")
    return len(data)


def _check_count(count: int, limit: int, unit: str, name: str) -> None:
    if count > limit:
        raise NotAnImage(f"{name}: a JPEG of more than {limit:,} {unit}; save it anew, as a baseline JPEG")
