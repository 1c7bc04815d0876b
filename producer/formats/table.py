"""Table: one line of comma-separated values per object, for spreadsheets and scripts."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from typing import TYPE_CHECKING

from .result_format import FormatOptions, ResultFormat

if TYPE_CHECKING:
    from ..client.job import Result

_COLUMNS = ("plane", "id", "score", "x", "y", "area", "left", "top", "width", "height")


def chunks(result: Result, options: FormatOptions) -> Iterator[bytes]:
    """The plane (empty if the image is no stack), id, score, centroid, area and box of each object, pixels."""
    line = io.StringIO()
    writer = csv.writer(line, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for item in result.objects:
        writer.writerow((item.plane, item.id, item.score, *item.centroid, item.area, *item.bbox))
        if line.tell() > 1 << 16:
            yield line.getvalue().encode()
            line.seek(0)
            line.truncate()
    yield line.getvalue().encode()


FORMAT = ResultFormat("table", "CSV table", {".csv": "text/csv"}, chunks, streamable=True)
