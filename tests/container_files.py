"""Makes small container files as tests need them: in the structure of each format, by its specification."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import numpy as np
import tifffile
import zarr
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[Any]


def slide_picture(height: int = 1200, width: int = 1600) -> Pixels:
    """White glass with a stained ellipse around (x, y) = (900, 500) of 1600 × 1200: (H, W, 3) uint8."""
    y, x = np.mgrid[:height, :width] * (1600 / width)
    tissue = ((y - 500) / 250) ** 2 + ((x - 900) / 400) ** 2 < 1
    picture = np.where(tissue[..., None], (190, 90, 160), (245, 245, 245))
    noise = np.random.default_rng(0).integers(-4, 5, picture.shape)
    return (picture + noise).clip(0, 255).astype(np.uint8)


def write_svs(path: Path, picture: Pixels, micrometres: str | None = "0.5000") -> Path:
    """Aperio: tiled levels reduced by 4, and a thumbnail, a label and a macro picture as pages."""
    head = "Aperio Image Library v11.2.1\r\n"
    scale = f"|MPP = {micrometres}" if micrometres else ""
    tiled: dict[str, Any] = {"photometric": "rgb", "tile": (256, 256), "compression": "zlib", "metadata": None}
    plain: dict[str, Any] = {"photometric": "rgb", "rowsperstrip": 16, "metadata": None}
    with tifffile.TiffWriter(path) as file:
        file.write(picture, description=f"{head}1600x1200 (256x256) JPEG/RGB Q=70|AppMag = 20{scale}", **tiled)
        file.write(picture[::8, ::8], description=f"{head}1600x1200 -> 200x150", **plain)
        file.write(picture[::4, ::4], description=f"{head}1600x1200 -> 400x300", **tiled)
        file.write(picture[:80, :90], description=f"{head}label 90x80", subfiletype=1, **plain)
        file.write(picture[:80, :99], description=f"{head}macro 99x80", subfiletype=9, **plain)
    return path


def write_ndpi(path: Path, picture: Pixels, restart: bool) -> Path:
    """Hamamatsu: 64-bit offsets in a 32-bit TIFF, each level one JPEG; `restart` adds a table of restart markers."""
    data = bytearray(b"II*\0" + bytes(8))
    link = 4
    for level, magnification in ((picture, 20.0), (picture[::4, ::4], 5.0), (picture[::8, ::16], -1.0)):
        link = _ndpi_page(data, link, np.ascontiguousarray(level), magnification, restart and magnification > 0)
    path.write_bytes(data)
    return path


def _ndpi_page(data: bytearray, link: int, pixels: Pixels, magnification: float, restart: bool) -> int:
    """Append a page and write its offset at `link`; returns the place for the offset of the next."""
    stream = io.BytesIO()
    blocks = {"restart_marker_blocks": 4} if restart else {}
    Image.fromarray(pixels).save(stream, "JPEG", quality=95, subsampling=0, **blocks)
    jpeg = stream.getvalue()
    offset = len(data)
    data += jpeg
    per_cm = 10_000 / 0.46 * magnification / 20
    values: dict[int, tuple[int, bytes]] = {
        256: (4, struct.pack("<I", pixels.shape[1])),
        257: (4, struct.pack("<I", pixels.shape[0])),
        258: (3, struct.pack("<3H", 8, 8, 8)),
        259: (3, struct.pack("<H", 7)),
        262: (3, struct.pack("<H", 6)),
        271: (2, b"Hamamatsu\0"),
        273: (4, struct.pack("<I", offset)),
        277: (3, struct.pack("<H", 3)),
        278: (4, struct.pack("<I", pixels.shape[0])),
        279: (4, struct.pack("<I", len(jpeg))),
        282: (5, struct.pack("<2I", abs(round(per_cm * 100)), 100)),
        283: (5, struct.pack("<2I", abs(round(per_cm * 100)), 100)),
        296: (3, struct.pack("<H", 3)),
        530: (3, struct.pack("<2H", 1, 1)),
        65420: (4, struct.pack("<I", 1)),
        65421: (11, struct.pack("<f", magnification)),
    }
    if restart:
        scan = jpeg.index(b"\xff\xda")
        start = scan + 2 + int.from_bytes(jpeg[scan + 2 : scan + 4], "big")
        marks = [at + 2 for at in range(start, len(jpeg) - 2) if jpeg[at] == 0xFF and 0xD0 <= jpeg[at + 1] <= 0xD7]
        values[65426] = (4, struct.pack(f"<{len(marks) + 1}I", start, *marks))
    sizes = {2: 1, 3: 2, 4: 4, 5: 8, 11: 4}
    entries = b""
    for tag, (kind, value) in sorted(values.items()):
        if len(value) > 4:
            value, outside = struct.pack("<I", len(data)), value
            data += outside
            count = len(outside) // sizes[kind]
        else:
            count = len(value) // sizes[kind]
        entries += struct.pack("<HHI", tag, kind, count) + value.ljust(4, b"\0")
    data[link : link + 8] = struct.pack("<Q", len(data))
    data += struct.pack("<H", len(values)) + entries
    following = len(data)
    data += bytes(8) + bytes(4 * len(values))
    return following


def write_scn(path: Path, picture: Pixels) -> Path:
    """Leica: an XML document that says which page is which level; a macro of the whole glass, and one scanned area."""
    small, macro = picture[::4, ::4], picture[::8, ::8]
    height, width = picture.shape[:2]

    def image(name: str, nanometres: tuple[int, int], first: Pixels, pages: str) -> str:
        y, x = nanometres
        return (
            f'<image name="{name}"><creationDate>2011-01-01</creationDate><view sizeX="{x}" sizeY="{y}" offsetX="0" '
            f'offsetY="0"/><pixels sizeX="{first.shape[1]}" sizeY="{first.shape[0]}">{pages}</pixels></image>'
        )

    levels = "".join(
        f'<dimension r="{r}" ifd="{r + 1}" sizeX="{level.shape[1]}" sizeY="{level.shape[0]}"/>'
        for r, level in enumerate((picture, small))
    )
    glass = height * 500 * 4, width * 500 * 4
    xml = (
        '<?xml version="1.0"?><scn xmlns="http://www.leica-microsystems.com/scn/2010/10/01">'
        f'<collection name="slide" sizeX="{glass[1]}" sizeY="{glass[0]}">'
        + image("macro", glass, macro, f'<dimension r="0" ifd="0" sizeX="{macro.shape[1]}" sizeY="{macro.shape[0]}"/>')
        + image("area", (height * 500, width * 500), picture, levels)
        + "</collection></scn>"
    )
    tiled: dict[str, Any] = {"photometric": "rgb", "tile": (256, 256), "compression": "zlib", "metadata": None}
    with tifffile.TiffWriter(path, bigtiff=True) as file:
        for number, level in enumerate((macro, picture, small)):
            file.write(level, description=xml if number == 0 else None, **tiled)
    return path


def write_ome_pyramid(path: Path, stains: Pixels, micrometres: float = 0.325) -> Path:
    """OME-TIFF of (C, H, W) stains with one reduced level in SubIFDs."""
    metadata = {
        "axes": "CYX",
        "Channel": {"Name": [f"stain {number}" for number in range(len(stains))]},
        "PhysicalSizeX": micrometres,
        "PhysicalSizeXUnit": "µm",
        "PhysicalSizeY": micrometres,
        "PhysicalSizeYUnit": "µm",
    }
    with tifffile.TiffWriter(path) as file:
        file.write(stains, subifds=1, tile=(64, 64), photometric="minisblack", metadata=metadata)
        file.write(stains[:, ::2, ::2], subfiletype=1, tile=(64, 64), photometric="minisblack")
    return path


def write_ome_zarr(
    store: Any,
    pixels: Pixels,
    axes: str,
    *,
    version: str = "0.4",
    levels: int = 2,
    micrometres: float | None = 0.5,
    channels: tuple[str, ...] = (),
) -> Any:
    """OME-Zarr of a pyramid whose levels halve Y and X; Zarr v3 from version 0.5 on. Returns the store."""
    new = version >= "0.5"
    group = zarr.open_group(store, mode="w", zarr_format=3 if new else 2)
    datasets = []
    for level in range(levels):
        step = 2**level
        reduced = pixels[tuple(slice(None, None, step if axis in "yx" else 1) for axis in axes)]
        chunks = tuple(min(32, length) for length in reduced.shape)
        group.create_array(str(level), data=np.ascontiguousarray(reduced), chunks=chunks)
        scale = [(micrometres or 1.0) * step if axis in "yx" else 1.0 for axis in axes]
        datasets.append({"path": str(level), "coordinateTransformations": [{"type": "scale", "scale": scale}]})
    kinds = {"t": "time", "c": "channel"}
    described: list[Any] = [
        {"name": axis, "type": kinds.get(axis, "space")}
        | ({"unit": "micrometer"} if micrometres and axis in "yx" else {})
        for axis in axes
    ]
    multiscale = {"version": version, "name": "cells", "axes": described, "datasets": datasets}
    metadata: dict[str, Any] = {"multiscales": [multiscale]}
    if channels:
        metadata["omero"] = {"channels": [{"label": name} for name in channels]}
    group.attrs.update({"ome": {"version": version, **metadata}} if new else metadata)
    return store


def write_lif(path: Path, images: dict[str, Pixels], dyes: tuple[str, ...] = ("DAPI", "GFP")) -> Path:
    """Leica LIF, version 2: an XML header, then a block of memory per image: (C, Z, H, W), or (H, W, 3) colours."""
    elements, blocks = "", b""
    for number, (name, pixels) in enumerate(images.items()):
        elements += _lif_element(f"MemBlock_{number}", name, pixels, dyes)
        label = f"MemBlock_{number}".encode("utf-16-le")
        size = pixels.nbytes
        blocks += struct.pack("<IIBQBI", 0x70, 14 + len(label), 0x2A, size, 0x2A, len(label) // 2) + label
        # planes first, then their channels, as Leica stores them
        blocks += pixels.tobytes() if pixels.ndim == 3 else np.ascontiguousarray(pixels.transpose(1, 0, 2, 3)).tobytes()
    xml = (
        f'<LMSDataContainerHeader Version="2"><Element Name="file" Visibility="1"><Children>{elements}</Children>'
        "</Element></LMSDataContainerHeader>"
    ).encode("utf-16-le")
    path.write_bytes(struct.pack("<IIBI", 0x70, len(xml) + 5, 0x2A, len(xml) // 2) + xml + blocks)
    return path


def _lif_element(block: str, name: str, pixels: Pixels, dyes: tuple[str, ...]) -> str:
    item = pixels.itemsize
    height, width = pixels.shape[-3:-1] if pixels.ndim == 3 else pixels.shape[-2:]
    if pixels.ndim == 3:
        channel_steps, steps = [0, item, 2 * item], {1: 3 * item, 2: 3 * item * width}
    else:
        plane = height * width * item
        channel_steps = [plane * number for number in range(pixels.shape[0])]
        steps = {1: item, 2: item * width, 3: plane * pixels.shape[0]}
    colour = pixels.ndim == 3
    tags, names = ((1, 2, 3), ("", "", "")) if colour else ((0,) * len(pixels), dyes[: len(pixels)])
    lengths = {1: width, 2: height, 3: pixels.shape[1]}
    metres = {1: 0.25e-6, 2: 0.5e-6, 3: 1e-6}
    channels = "".join(
        f'<ChannelDescription DataType="0" ChannelTag="{tag}" Resolution="{8 * item}" NameOfMeasuredQuantity="" '
        f'Min="0" Max="1" Unit="" LUTName="Gray" IsLUTInverted="0" BytesInc="{step}" BitInc="0"><ChannelProperty>'
        f"<Key>DyeName</Key><Value>{escape(dye)}</Value></ChannelProperty></ChannelDescription>"
        for step, tag, dye in zip(channel_steps, tags, names, strict=True)
    )
    dimensions = "".join(
        f'<DimensionDescription DimID="{axis}" NumberOfElements="{lengths[axis]}" Origin="0" '
        f'Length="{metres[axis] * (lengths[axis] - 1)}" Unit="m" BitInc="0" BytesInc="{step}"/>'
        for axis, step in steps.items()
    )
    return (
        f'<Element Name="{escape(name)}" Visibility="1"><Data><Image><ImageDescription><Channels>{channels}</Channels>'
        f"<Dimensions>{dimensions}</Dimensions></ImageDescription></Image></Data>"
        f'<Memory Size="{pixels.nbytes}" MemoryBlockID="{block}"/></Element>'
    )
