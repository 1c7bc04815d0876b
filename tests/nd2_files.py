"""Makes small Nikon ND2 files: version 3, chunks with a map at the end, metadata in Nikon's binary variants."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_MAGIC = 0x0ABECEDA
_MAP = b"ND2 CHUNK MAP SIGNATURE 0000001!"
#: A frame's pixels begin 4096 bytes after its chunk, behind the name and a time stamp.
_FRAME_NAME = 4096 - 16 - 8
#: Nikon's numbers of the kinds of loops.
_LOOPS = {"T": 1, "P": 2, "Z": 4}


def write_nd2(
    path: Path, pixels: NDArray[Any], loops: dict[str, int], channels: tuple[str, ...], micrometres: float | None
) -> Path:
    """One frame (H, W, components) per position of the loops, slowest first: pixels (frames, H, W, components)."""
    frames, height, width, components = pixels.shape
    colour = len(channels) == 1 and components == 3
    attributes = {
        "uiWidth": width,
        "uiWidthBytes": width * components * pixels.itemsize,
        "uiHeight": height,
        "uiComp": components,
        "uiBpcInMemory": 8 * pixels.itemsize,
        "uiBpcSignificant": 8 * pixels.itemsize,
        "uiSequenceCount": frames,
        "eCompression": 2,
    }
    planes = {
        f"a{number}": {"uiCompCount": 3 if colour else 1, "sDescription": name, "pFluorescentProbe": {"sName": name}}
        for number, name in enumerate(channels)
    }
    metadata = {
        "bCalibrated": micrometres is not None,
        "dCalibration": micrometres or 0.0,
        "sPicturePlanes": {"uiCount": len(channels), "sPlaneNew": planes},
    }
    chunks = {
        "ImageAttributesLV!": _encoded({"SLxImageAttributes": attributes}),
        "ImageMetadataSeqLV|0!": _encoded({"SLxPictureMetadata": metadata}),
    }
    if loops:
        chunks["ImageMetadataLV!"] = _encoded({"SLxExperiment": _experiment(list(loops.items()))})
    for number, frame in enumerate(pixels):
        chunks[f"ImageDataSeq|{number}!"] = struct.pack("<d", number) + np.ascontiguousarray(frame).tobytes()
    path.write_bytes(_file(chunks))
    return path


def _experiment(loops: list[tuple[str, int]]) -> dict[str, Any]:
    (axis, count), *inner = loops
    parameters: dict[str, Any] = {"uiCount": count, "dZStep": 1.0, "dStart": 0.0, "dPeriod": 1.0, "dDuration": 1.0}
    if axis == "P":
        parameters["Points"] = {f"i{number:010}": {"dPosX": 0.0, "dPosY": 0.0} for number in range(count)}
    described = {"eType": _LOOPS[axis], "uLoopPars": parameters}
    return described | ({"ppNextLevelEx": {"i0000000000": _experiment(inner)}} if inner else {})


def _encoded(values: dict[str, Any]) -> bytes:
    """Records of a type, a name in UTF-16 and a value; a level of records ends with a table of as many offsets."""
    data = b""
    for name, value in values.items():
        encoded = f"{name}\0".encode("utf-16-le")
        head = bytes([_kind(value), len(encoded) // 2]) + encoded
        if isinstance(value, dict):
            inside = _encoded(value)
            data += head + struct.pack("<IQ", len(value), len(head) + 12 + len(inside)) + inside + bytes(8 * len(value))
        elif isinstance(value, str):
            data += head + f"{value}\0".encode("utf-16-le")
        else:
            data += head + struct.pack({1: "<B", 3: "<I", 6: "<d"}[_kind(value)], value)
    return data


def _kind(value: Any) -> int:
    return {bool: 1, int: 3, float: 6, str: 8, dict: 11}[type(value)]


def _file(chunks: dict[str, bytes]) -> bytes:
    data = bytearray()

    def add(name: bytes, content: bytes) -> int:
        offset = len(data)
        data.extend(struct.pack("<IIQ", _MAGIC, len(name), len(content)) + name + content)
        return offset

    add(b"ND2 FILE SIGNATURE CHUNK NAME01!", b"Ver3.0".ljust(64, b"\0"))
    entries = b""
    for name, content in chunks.items():
        label = name.encode()
        offset = add(label.ljust(_FRAME_NAME, b"\0") if name.startswith("ImageDataSeq") else label, content)
        entries += label + struct.pack("<QQ", offset, len(content))
    location = add(b"ND2 FILEMAP SIGNATURE NAME 0001!", entries + _MAP + bytes(8))
    return bytes(data) + _MAP + struct.pack("<Q", location)
