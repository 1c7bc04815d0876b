"""GeoJSON: a feature per object with its polygons and measurements, as QuPath exports and imports them.

Coordinates are in pixels from the image's top left corner. Rings are in RFC 7946's order if x and y are taken as they
are: on a screen, where y points down, exteriors go clockwise.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING
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
    classification = _json({"name": result.job.spec.model.partition("@")[0]})
    begin = b'{"type":"Feature","id":"%b","geometry":{"type":"%b","coordinates":%b%b},'
    properties = b'"properties":{"objectType":"detection","name":"%d","classification":' + classification + b"%b}}"
    feature = begin + properties
    job, measurements = str(uuid5(_NAMESPACE, result.job.id))[:18].encode(), _Measurements(result.pixel_size)
    for plane, rings in outlines(result, options):
        where = _plane_member(stack_position(result, plane))
        for number, polygons, text in coordinates(rings):
            item = described.get((plane, number))
            measured = b"," + measurements.text(item) if item else b""
            kind = b"Polygon" if polygons == 1 else b"MultiPolygon"
            identifier = job + _second_half(plane or 0, number)
            yield feature % (identifier, kind, text, where, number, measured)


def _plane_member(position: dict[str, int]) -> bytes:
    """The member of a geometry that tells QuPath the plane, from 0; empty for the only one."""
    return b',"plane":' + _json({"c": -1, "z": position.get("Z", 0), "t": position.get("T", 0)}) if position else b""


def _second_half(plane: int, number: int) -> bytes:
    """The second half of an object's UUID of version 5, of which the first half is the job's: its plane and number."""
    digits = b"%016x" % (1 << 63 | plane << 32 | number)
    return b"-%b-%b" % (digits[:4], digits[4:])


class _Measurements:
    """Objects' measurements under QuPath's names: in micrometres if the pixel size is known, else in pixels.

    Positions are QuPath's, in which the centre of the first pixel is (0.5, 0.5).
    """

    def __init__(self, pixel_size: tuple[float, float] | None) -> None:
        self._height, self._width = pixel_size or (1.0, 1.0)
        unit, area = ("µm", "µm^2") if pixel_size else ("px", "px^2")
        names = "Score", f"Area {area}", f"Centroid X {unit}", f"Centroid Y {unit}"
        self._text = b'"measurements":{%b}' % ",".join(f'"{name}":%a' for name in names).encode()

    def text(self, item: MaskObject) -> bytes:
        """The member of an object's properties: `%a` writes numbers as JSON does, much faster than an encoder."""
        x, y = item.centroid
        values = item.score, item.area * self._height * self._width, (x + 0.5) * self._width, (y + 0.5) * self._height
        return self._text % values


_encode = json.JSONEncoder(ensure_ascii=False, check_circular=False, separators=(",", ":")).encode


def _json(value: object) -> bytes:
    return _encode(value).encode()


FORMAT = ResultFormat(
    "geojson", "GeoJSON polygons, for QuPath", {".geojson": "application/geo+json"}, chunks, streamable=True
)
