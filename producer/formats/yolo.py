"""YOLO segmentation: a text file per image with an outline per object, and `data.yaml` for the data set.

A line is a class and one closed outline, as shares of the image's width and height. Holes and further parts are joined
to it by cuts of no width through its first corner, so that the outline still encloses the object's pixels and no
others; some programs close such cuts when they draw.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from .atomic_file import atomic_file
from .coco import class_name
from .outlines import outlines
from .result_format import FormatOptions, ResultFormat

if TYPE_CHECKING:
    from ..client.job import Result
    from ..polygons.outlines import Polygon, Ring


def chunks(result: Result, options: FormatOptions) -> Iterator[bytes]:
    """The lines of an image whose objects are of class 0."""
    return _lines(result, options, 0)


def _lines(result: Result, options: FormatOptions, number_of_class: int) -> Iterator[bytes]:
    from ..polygons.outlines import polygons_of

    shares_of_height, shares_of_width = map(_Shares, result.size)
    for _, rings in outlines(result, options):
        for _, polygons in polygons_of(rings):
            corners = _one_outline(polygons).tolist()
            shares = " ".join([f"{shares_of_width[x]} {shares_of_height[y]}" for x, y in corners])
            yield f"{number_of_class} {shares}\n".encode()


class _Shares(dict[int, str]):
    """Coordinates as shares of a side, as text, each made once."""

    def __init__(self, side: int) -> None:
        super().__init__()
        self._side = side

    def __missing__(self, coordinate: int) -> str:
        text = self[coordinate] = f"{coordinate / self._side:.9g}"
        return text


def _one_outline(polygons: list[Polygon]) -> Ring:
    """All rings as one closed outline, (N, 2): after each ring it goes back to the first corner of the first."""
    import numpy as np

    rings = [ring for polygon in polygons for ring in polygon]
    if len(rings) == 1:
        return rings[0]
    return np.concatenate([corners for ring in rings for corners in (ring, ring[:1], rings[0][:1])][:-1])


class YoloFolder:
    """`labels/NAME.txt` for each image, and `data.yaml`; the images belong into a folder `images` beside `labels`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._classes: dict[str, int] = {}

    def add(self, result: Result, name: str, options: FormatOptions) -> Path:
        """Write an image's lines."""
        path = self._folder / "labels" / f"{name}.txt"
        number = self._classes.setdefault(class_name(result), len(self._classes))
        with atomic_file(path) as part, part.open("wb") as file:
            file.writelines(_lines(result, options, number))
        return path

    def close(self) -> None:
        """Write `data.yaml`."""
        names = "".join(f"  {number}: {json.dumps(name)}\n" for name, number in self._classes.items())
        with atomic_file(self._folder / "data.yaml") as part:
            part.write_text(f"path: .\ntrain: images\nval: images\nnames:\n{names}", encoding="utf-8")


FORMAT = ResultFormat(
    "yolo",
    "YOLO segmentation outlines",
    {".yolo.txt": "text/plain"},
    chunks,
    streamable=True,
    stacks=False,
    dataset=YoloFolder,
)
