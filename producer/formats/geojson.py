"""GeoJSON: a feature per object with its polygons and measurements, as QuPath exports and imports them.

Coordinates are in pixels from the image's top left corner. Rings are in RFC 7946's order if x and y are taken as they
are: on a screen, where y points down, exteriors go clockwise.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid5

from .outlines import outlines
from .result_format import FormatOptions, ResultFormat
from .stack_position import stack_position

if TYPE_CHECKING:
    from ..client.job import Result
    from ..schema import MaskObject

#: QuPath identifies objects by UUID. Equal objects of equal jobs get equal ones.
_NAMESPACE = UUID("6d61736b-7120-5f6f-a26a-656374730a21")
_CHUNK = 1 << 16


def chunks(result: Result, options: FormatOptions) -> Iterator[bytes]:
    """The feature collection."""
    text, size = [b'{"type":"FeatureCollection","features":['], 0
    separator = b"\n"
    for feature in _features(result, options):
        text += (separator, feature)
        separator = b",\n"
        size += len(feature)
        if size > _CHUNK:
            yield b"".join(text)
            text, size = [], 0
    yield b"".join([*text, b"\n]}\n"])


def _features(result: Result, options: FormatOptions) -> Iterator[bytes]:
    from ..polygons.json_text import coordinates

    described = {(item.plane, item.id): item for item in result.objects}
    classification = {"name": result.job.spec.model.partition("@")[0]}
    for plane, rings in outlines(result, options):
        position = stack_position(result, plane)
        suffix = b"}"
        if position:
            suffix = b',"plane":' + _json({"c": -1, "z": position.get("Z", 0), "t": position.get("T", 0)}) + b"}"
        for number, polygons, text in coordinates(rings):
            properties: dict[str, Any] = {
                "objectType": "detection",
                "name": str(number),
                "classification": classification,
            }
            if item := described.get((plane, number)):
                properties["measurements"] = measurements(item, result.pixel_size)
            kind = b"Polygon" if polygons == 1 else b"MultiPolygon"
            identifier = str(uuid5(_NAMESPACE, f"{result.job.id} {plane} {number}")).encode()
            yield b"".join(
                (
                    b'{"type":"Feature","id":"', identifier, b'","geometry":{"type":"', kind, b'","coordinates":', text,
                    suffix, b',"properties":', _json(properties), b"}",
                )
            )  # fmt: skip


def measurements(item: MaskObject, pixel_size: tuple[float, float] | None) -> dict[str, float]:
    """An object's measurements under QuPath's names: in micrometres where the pixel size is known, else in pixels.

    Positions are QuPath's, where the centre of the first pixel is (0.5, 0.5).
    """
    height, width = pixel_size or (1.0, 1.0)
    unit, area = ("µm", "µm^2") if pixel_size else ("px", "px^2")
    x, y = item.centroid
    return {
        "Score": item.score,
        f"Area {area}": item.area * height * width,
        f"Centroid X {unit}": (x + 0.5) * width,
        f"Centroid Y {unit}": (y + 0.5) * height,
    }


def _json(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


FORMAT = ResultFormat(
    "geojson", "GeoJSON polygons, for QuPath", {".geojson": "application/geo+json"}, chunks, streamable=True
)
