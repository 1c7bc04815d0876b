"""Table: one line of comma-separated values per object, for spreadsheets and scripts."""

import csv
import io

from maskq.producer.client.job import Result

from .result_format import ResultFormat

_COLUMNS = ("plane", "id", "score", "x", "y", "area", "left", "top", "width", "height")


def encode(result: Result, image: bytes) -> tuple[str, bytes]:
    """The plane (empty if the image is no stack), id, score, centroid, area and box of each object, pixels."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(_COLUMNS)
    for item in result.objects:
        rows.writerow((item.plane, item.id, item.score, *item.centroid, item.area, *item.bbox))
    return ".csv", text.getvalue().encode()


FORMAT = ResultFormat("table", {".csv": "text/csv"}, encode)
